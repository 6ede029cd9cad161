package sessionauth_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// rawClient speaks HTTP/2 to one server, header by header: a client of grpc-go would not
// send what these tests are about, and HPACK's dynamic table makes a byte on the wire of
// any of it that is repeated.
type rawClient struct {
	t       *testing.T
	conn    net.Conn
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
}

const unaryPath = "/grpc.testing.TestService/UnaryCall"

// serveRaw starts a server on a real connection and returns a rawClient of it.
func serveRaw(t *testing.T, opts ...grpc.ServerOption) *rawClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(opts...)
	grpc_testing.RegisterTestServiceServer(server, &service{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	c := &rawClient{t: t, conn: conn, framer: http2.NewFramer(conn, conn), stream: 1}
	c.encoder = hpack.NewEncoder(&c.block)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// header is one field of a request, sent so many times.
type header struct {
	name, value string
	times       int
}

// call makes a unary call and returns its grpc-status and the bytes on the wire.
func (c *rawClient) call(fields []header) (grpcStatus string, wire int) {
	c.t.Helper()
	c.block.Reset()
	write := func(name, value string) {
		if err := c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			c.t.Fatal(err)
		}
	}
	write(":method", "POST")
	write(":scheme", "http")
	write(":path", unaryPath)
	write(":authority", "a.example")
	write("content-type", "application/grpc")
	write("te", "trailers")
	for _, f := range fields {
		for range max(1, f.times) {
			write(f.name, f.value)
		}
	}
	const frame = 16 << 10
	wire = c.block.Len()
	for first := true; first || c.block.Len() > 0; first = false {
		part := c.block.Next(frame)
		var err error
		if end := c.block.Len() == 0; first {
			err = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: part, EndHeaders: end})
		} else {
			err = c.framer.WriteContinuation(c.stream, end, part)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if err := c.framer.WriteData(c.stream, true, make([]byte, 5)); err != nil {
		c.t.Fatal(err)
	}
	grpcStatus = c.answer()
	c.stream += 2
	return grpcStatus, wire
}

// answer reads up to the trailers of the stream.
func (c *rawClient) answer() string {
	c.t.Helper()
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			c.t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.framer.WriteSettingsAck(); err != nil {
					c.t.Fatal(err)
				}
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				if err := c.framer.WritePing(true, f.Data); err != nil {
					c.t.Fatal(err)
				}
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == c.stream {
				return "reset " + f.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				if field.Name == "grpc-status" && f.StreamID == c.stream {
					return field.Value
				}
			}
		}
	}
}

// cost is what a call costs this process, in bytes allocated and CPU time.
type cost struct {
	allocated int64
	cpu       time.Duration
}

func (c *rawClient) cost(fields []header) (cost, string) {
	c.t.Helper()
	var before, after runtime.MemStats
	start := cpuTime()
	runtime.ReadMemStats(&before)
	grpcStatus, _ := c.call(fields)
	runtime.ReadMemStats(&after)
	return cost{int64(after.TotalAlloc - before.TotalAlloc), cpuTime() - start}, grpcStatus
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano())
}

// least is what the cheapest of some calls costs: what the process does beside it only adds.
func (c *rawClient) least(fields []header) (least cost, grpcStatus string) {
	c.t.Helper()
	least, grpcStatus = c.cost(fields)
	if raceEnabled { // by which pools forget at random: nothing is compared
		return least, grpcStatus
	}
	for range 2 {
		another, _ := c.cost(fields)
		least.allocated = min(least.allocated, another.allocated)
		least.cpu = min(least.cpu, another.cpu)
	}
	return least, grpcStatus
}

// distinct are n headers of different names.
func distinct(prefix, value string, n int) []header {
	fields := make([]header, n)
	for i := range fields {
		fields[i] = header{fmt.Sprintf("%s%d", prefix, i), value, 1}
	}
	return fields
}

func numberedCookies(size int) string {
	var line strings.Builder
	for i := 0; line.Len() < size; i++ {
		fmt.Fprintf(&line, "s=%d;", i)
	}
	return line.String()[:size]
}

// bombs are requests that cost their sender nothing.
func bombs() map[string][]header {
	good := header{"authorization", "Bearer t1", 1}
	cookies := numberedCookies(48 << 10)
	return map[string][]header{
		"4,000 crumbs of 1,300 cookies":       {{"cookie", strings.Repeat("s=;", 1300), 4000}},
		"the same beside a good token":        {good, {"cookie", strings.Repeat("s=;", 1300), 4000}},
		"4,000 crumbs with values":            {{"cookie", strings.Repeat("sid=t;", 640), 4000}},
		"4,000 crumbs renamed by a gateway":   {{"grpcgateway-cookie", strings.Repeat("s=;", 1290), 4000}},
		"400,000 empty crumbs":                {{"cookie", "", 400_000}},
		"50,000 small crumbs":                 {{"cookie", "sid=t%41.x", 50_000}},
		"50,000 Authorizations":               {{"authorization", "Bearer t1", 50_000}},
		"50,000 renamed ones":                 {good, {"grpcgateway-authorization", "Bearer t1", 50_000}},
		"4,000 token headers":                 {{"x-session-token", strings.Repeat("t", 3800), 4000}},
		"one cookie header of 48 KiB":         {{"cookie", cookies, 1}},
		"one of 16 KiB":                       {{"cookie", cookies[:16<<10], 1}},
		"one of 64 KiB":                       {{"cookie", numberedCookies(64 << 10), 1}},
		"one long cookie of 1 MiB":            {{"cookie", "sid=" + strings.Repeat("%41", 1<<20/3), 1}},
		"256 cookies":                         {{"cookie", strings.Repeat("sid=%41.b; ", 256), 1}},
		"thousands of names":                  append(distinct("x-k", "v", 4000), good),
		"1,000 names":                         append(distinct("x-k", "v", 1000), good),
		"thousands of identity headers":       append(distinct("x-auth-k", "v", 4000), good),
		"1,000 identity headers":              append(distinct("x-auth-k", "v", 1000), good),
		"50,000 values of an identity":        {good, {"x-auth-roles", `["admin"]`, 50_000}},
		"4,000 of 3,800 bytes of an identity": {good, {"x-auth-claims", strings.Repeat("c", 3800), 4000}},
		"200 KB of other headers":             append(distinct("x-k", strings.Repeat("v", 2000), 100), good),
		"8 MB of one other header":            {good, {"x-other", strings.Repeat("v", 3800), 2000}},
		"a binary header again and again":     {good, {"x-other-bin", strings.Repeat("AAAA", 900), 2000}},
		"50,000 origins":                      {good, {"cookie", "sid=t1", 1}, {"origin", "https://evil.example", 50_000}},
		"a tenant again and again":            {good, {"x-tenant", strings.Repeat("v", 3800), 2000}},
		"an ordinary call":                    {good, {"cookie", "theme=dark; sid=t1", 1}},
	}
}

// barriers are ways to set up a server.
func barriers(t *testing.T) map[string][]grpc.ServerOption {
	t.Helper()
	verify := func(context.Context, string, http.Header) (*record, error) { return &record{User: "ada"}, nil }
	auth := func(opts ...interceptor.Option) []grpc.ServerOption {
		a, err := interceptor.NewSessionAuth(verify, mapRecord, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return a.ServerOptions()
	}
	with := func(extractors ...authmd.Extractor) interceptor.Option {
		return interceptor.WithExtractors(extractors...)
	}
	custom := authmd.ExtractorFunc(func(h http.Header) (string, bool) { return "t", h.Get("Cookie") != "" || h.Get("Authorization") != "" })
	return map[string][]grpc.ServerOption{
		"default":            auth(hour),
		"default, no cache":  auth(),
		"Cookie(s)":          auth(hour, with(authmd.Cookie("s"))),
		"Cookie, Bearer":     auth(hour, with(authmd.Cookie("sid"), authmd.Bearer())),
		"better-auth":        auth(hour, with(authmd.Named(authmd.Bearer(), authmd.UnsignedToken), authmd.Named(authmd.Cookie("better-auth.session_token", "s"), authmd.UnsignedToken)), interceptor.WithKeyHeaders()),
		"restricted default": auth(hour, interceptor.WithKeyHeaders("x-tenant"), interceptor.WithAllowedOrigins()),
		"a token header":     auth(hour, with(authmd.HeaderToken("x-session-token"), authmd.Bearer()), interceptor.WithOptionalAuth()),
		"ExtractorFunc":      auth(hour, with(custom)),
		"skipped":            auth(interceptor.WithSkipMethods("*")),
		"GatewayAuth":        newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).ServerOptions(),
	}
}

// TestWhateverARequestCarriesItCostsLittleMore: before anybody is known, this library
// allocates at most 1 MiB on top of what the server does by itself, and takes at most as
// much CPU again.
func TestWhateverARequestCarriesItCostsLittleMore(t *testing.T) {
	const most = 1 << 20
	// The pools of net/http2 and grpc are emptied by collections, and filling them again
	// would count as one side's cost or the other's, as it happens.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(512 << 20))
	requests := bombs()
	bare, costs, bareCPU := serveRaw(t), map[string]cost{}, time.Duration(0)
	for name, fields := range requests {
		costs[name], _ = bare.least(fields)
		bareCPU += costs[name].cpu
	}
	for barrier, opts := range barriers(t) {
		t.Run(barrier, func(t *testing.T) {
			client, cpu := serveRaw(t, opts...), time.Duration(0)
			for name, fields := range requests {
				with, grpcStatus := client.least(fields)
				without := costs[name]
				cpu += with.cpu
				t.Logf("%-36s status %-2s bare %6d KiB %6.2f ms, adds %5d KiB %6.2f ms", name, grpcStatus,
					without.allocated>>10, without.cpu.Seconds()*1e3, (with.allocated-without.allocated)>>10, (with.cpu-without.cpu).Seconds()*1e3)
				if added := with.allocated - without.allocated; added > most && !raceEnabled {
					t.Errorf("%s: adds %d KiB", name, added>>10)
				}
			}
			if cpu > 2*bareCPU && !raceEnabled {
				t.Errorf("all of them take %v of CPU, %v with the bare server", cpu, bareCPU)
			}
		})
	}
}
