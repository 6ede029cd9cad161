package extauthz_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/envoy"
)

// configuration is the one that docs/envoy.md shows.
const configuration = "../../examples/extauthz/envoy.yaml"

const startTimeout = time.Minute

// seen is what an upstream sees of a request.
type seen struct {
	Subject string
	Header  map[string][]string // by names in lower case
}

func (s seen) body() []byte {
	body, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return body
}

// service says who calls.
type service struct {
	grpc_testing.UnimplementedTestServiceServer
}

func saw(ctx context.Context) *grpc_testing.Payload {
	md, _ := grpcmd.FromIncomingContext(ctx)
	s := seen{Header: md}
	if ac, ok := authcontext.FromContext(ctx); ok {
		s.Subject = ac.Subject
	}
	return &grpc_testing.Payload{Body: s.body()}
}

func (service) EmptyCall(context.Context, *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	return &grpc_testing.Empty{}, nil
}

func (service) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	return &grpc_testing.SimpleResponse{Payload: saw(ctx)}, nil
}

func (service) StreamingInputCall(stream grpc_testing.TestService_StreamingInputCallServer) error {
	size := int32(0)
	for {
		switch _, err := stream.Recv(); {
		case errors.Is(err, io.EOF):
			return stream.SendAndClose(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: size})
		case err != nil:
			return err
		}
		size++
	}
}

func (service) StreamingOutputCall(_ *grpc_testing.StreamingOutputCallRequest, stream grpc_testing.TestService_StreamingOutputCallServer) error {
	return stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: saw(stream.Context())})
}

func (service) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: saw(stream.Context())}); err != nil {
			return err
		}
	}
}

// website says who asks for a file.
func website(g *interceptor.GatewayAuth) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, err := g.Authenticate(r.Context(), r.Header)
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
			return
		}
		s := seen{Header: map[string][]string{}}
		for name, values := range r.Header {
			s.Header[strings.ToLower(name)] = values
		}
		if ac := found.AuthContext(); ac != nil {
			s.Subject = ac.Subject
		}
		_, _ = w.Write(s.body())
	})
}

// front is an Envoy that asks a Server.
type front struct {
	socket string
	log    chan string // its access log
	rpc    grpc_testing.TestServiceClient
	web    *http.Client // for "http://front/…"
	stop   func()       // ends the Server that is asked
}

// lines is a writer of lines. What nobody reads is let go.
type lines struct {
	rest []byte
	to   chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		select {
		case l.to <- string(line):
		default:
		}
		l.rest = rest
	}
}

// newFront starts Envoy with the configuration of the documentation, in which pairs of texts
// are replaced, in front of a service and a website.
func newFront(t testing.TB, s authv3.AuthorizationServer, pairs ...string) *front {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*startTimeout)
	defer cancel()
	program, err := envoy.Path(ctx)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "envoy") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	f := &front{socket: filepath.Join(dir, "front"), log: make(chan string, 1<<10)}
	f.stop = serveUntil(t, s, filepath.Join(dir, "check"))
	upstream := upstreamAuth(t, interceptor.WithSkipMethods("grpc.testing.TestService/EmptyCall"))
	server := grpc.NewServer(upstream.ServerOptions()...)
	grpc_testing.RegisterTestServiceServer(server, service{})
	background(t, listen(t, filepath.Join(dir, "grpc")), server.Serve, server.Stop)
	site := &http.Server{Handler: website(upstream), ReadHeaderTimeout: startTimeout}
	background(t, listen(t, filepath.Join(dir, "web")), site.Serve, func() { _ = site.Close() })

	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	pipe := func(name string) string { return "pipe: { path: " + filepath.Join(dir, name) + " }" }
	config := replace(t, string(text), append([]string{
		"socket_address: { address: 0.0.0.0, port_value: 8080 }", pipe("front"),
		"pipe: { path: /run/sessionauth/check.sock }", pipe("check"),
		"socket_address: { address: 127.0.0.1, port_value: 50051 }", pipe("grpc"),
		"socket_address: { address: 127.0.0.1, port_value: 8000 }", pipe("web"),
	}, pairs...)...)
	p, err := envoy.Start(program, dir, config, &lines{to: f.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said := p.Stop(); t.Failed() {
			t.Logf("Envoy said:\n%s", said)
		}
	})
	f.rpc = grpc_testing.NewTestServiceClient(dial(t, "unix:"+f.socket))
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", f.socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	f.web = &http.Client{Transport: transport}
	up, cancelUp := context.WithTimeout(t.Context(), 3*startTimeout)
	defer cancelUp()
	if _, err := f.rpc.EmptyCall(up, &grpc_testing.Empty{}, grpc.WaitForReady(true)); err != nil {
		t.Fatalf("a method that is skipped: %v", err)
	}
	return f
}

// replace replaces texts in a configuration, each of which must be there.
func replace(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the configuration has no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// transcoding puts a filter for JSON behind that for gRPC-Web, as pairs for replace.
func transcoding(t *testing.T) []string {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	file := grpc_testing.File_grpc_testing_test_proto
	for i := range file.Imports().Len() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file.Imports().Get(i).FileDescriptor))
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	wire, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	const next = "                  - name: envoy.filters.http.ext_authz\n"
	return []string{next, fmt.Sprintf(`                  - name: envoy.filters.http.grpc_json_transcoder
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder
                      proto_descriptor_bin: %s
                      services: [grpc.testing.TestService]
                      auto_mapping: true
                      convert_grpc_status: true
`, base64.StdEncoding.EncodeToString(wire)) + next}
}

// raw sends the bytes of a request by HTTP/1.1 and returns the status code, 0 for a connection
// that is closed, and what comes with it.
func (f *front) raw(t *testing.T, request string) (code int, body string) {
	t.Helper()
	conn, err := net.Dial("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(startTimeout))
	go func() { _, _ = io.WriteString(conn, request) }() // Envoy may answer before it has read all
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	all, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(all)
}
