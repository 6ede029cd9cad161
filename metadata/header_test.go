package metadata_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	grpcmd "google.golang.org/grpc/metadata"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func TestHeader(t *testing.T) {
	tests := map[string]struct {
		md   grpcmd.MD
		want http.Header
	}{
		"nil metadata is an empty header":   {nil, http.Header{}},
		"keys are canonicalised":            {grpcmd.MD{"x-request-id": {"1", "2"}}, http.Header{"X-Request-Id": {"1", "2"}}},
		"keys in two cases become one":      {grpcmd.MD{"X-A": {"1"}}, http.Header{"X-A": {"1"}}},
		"other separators stay as they are": {grpcmd.MD{"x_a.b": {"1"}}, http.Header{"X_a.b": {"1"}}},
		"pseudo-headers stay out":           {grpcmd.MD{":authority": {"h"}, ":path": {"/"}}, http.Header{}},
		"names that are none stay out":      {grpcmd.MD{"": {"1"}, "a b": {"1"}, "a\r\nb": {"1"}, "é": {"1"}, "a:b": {"1"}}, http.Header{}},
		"grpc's own names stay out":         {grpcmd.MD{"grpc-timeout": {"1S"}, "grpc-accept-encoding": {"gzip"}, "Grpc-X": {"1"}}, http.Header{}},
		"names like grpc's own do not":      {grpcmd.MD{"grpcx": {"1"}}, http.Header{"Grpcx": {"1"}}},
		"hop-by-hop names stay out": {grpcmd.MD{
			"te": {"trailers"}, "connection": {"close"}, "keep-alive": {"1"}, "proxy-connection": {"1"}, "proxy-authorization": {"1"},
			"proxy-authenticate": {"1"}, "trailer": {"X"}, "transfer-encoding": {"chunked"}, "upgrade": {"h2c"},
		}, http.Header{}},
		"names of the message stay out": {grpcmd.MD{
			"content-type": {"application/grpc"}, "content-length": {"5"}, "content-encoding": {"gzip"}, "accept-encoding": {"gzip"},
			"expect": {"100-continue"}, "host": {"h"},
		}, http.Header{}},
		"what Connection lists stays out": {
			grpcmd.MD{"connection": {"X-Hop, x-other"}, "x-hop": {"1"}, "x-other": {"2"}, "x-end": {"3"}}, http.Header{"X-End": {"3"}},
		},
		"cookie crumbs are joined": {grpcmd.MD{"cookie": {"a=1", "b=2; c=3"}}, http.Header{"Cookie": {"a=1; b=2; c=3"}}},
		"binary values are in their wire form": {
			grpcmd.MD{"trace-bin": {"\x00\xff\r\n", ""}}, http.Header{"Trace-Bin": {"AP8NCg", ""}},
		},
		"values that end a line stay out": {
			grpcmd.MD{"x-a": {"1\r\nX-B: 2", "1\n", "\x001", "good"}, "x-b": {"\r"}}, http.Header{"X-A": {"good"}},
		},
		"values that begin with the end of a line stay out": {
			grpcmd.MD{"x-a": {"\n1", "\r1", "\x00", "good"}}, http.Header{"X-A": {"good"}},
		},
		"odd bytes that end no line pass": {grpcmd.MD{"x-a": {"\t\xff"}}, http.Header{"X-A": {"\t\xff"}}},
		"a gateway cookie takes an empty place": {
			grpcmd.MD{"grpcgateway-cookie": {"a=1", "b=2"}}, http.Header{"Cookie": {"a=1; b=2"}},
		},
		"a gateway authorization takes an empty place": {
			grpcmd.MD{"grpcgateway-authorization": {"Bearer t"}}, http.Header{"Authorization": {"Bearer t"}},
		},
		"a gateway name that says the same goes": {grpcmd.MD{
			"cookie": {"a=1; b=2"}, "grpcgateway-cookie": {"a=1", "b=2"},
			"authorization": {"Bearer t"}, "grpcgateway-authorization": {"Bearer t"},
		}, http.Header{"Cookie": {"a=1; b=2"}, "Authorization": {"Bearer t"}}},
		"a gateway name that differs stays visible": {grpcmd.MD{
			"cookie": {"a=1"}, "grpcgateway-cookie": {"a=2"}, "authorization": {"Bearer t"}, "grpcgateway-authorization": {"Bearer u"},
		}, http.Header{
			"Cookie": {"a=1"}, "Grpcgateway-Cookie": {"a=2"}, "Authorization": {"Bearer t"}, "Grpcgateway-Authorization": {"Bearer u"},
		}},
		"a native one that is no value does not make room": {
			grpcmd.MD{"cookie": {"a\n"}, "grpcgateway-cookie": {"a=1"}}, http.Header{"Grpcgateway-Cookie": {"a=1"}},
		},
		"a native one without values does": {grpcmd.MD{"cookie": {}, "grpcgateway-cookie": {"a=1"}}, http.Header{"Cookie": {"a=1"}}},
		"a native one for one hop does": {
			grpcmd.MD{"connection": {"Cookie"}, "cookie": {"a=2"}, "grpcgateway-cookie": {"a=1"}}, http.Header{"Cookie": {"a=1"}},
		},
		"other gateway names are names": {grpcmd.MD{"grpcgateway-origin": {"o"}}, http.Header{"Grpcgateway-Origin": {"o"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := test.md.Copy()
			got := authmd.Header(test.md)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("Header = %v, want %v", got, test.want)
			}
			for _, values := range got {
				for i := range values {
					values[i] = "changed"
				}
			}
			if test.md != nil && !reflect.DeepEqual(test.md, before) {
				t.Errorf("the metadata was changed to %v", test.md)
			}
		})
	}
}

func TestWhatWouldMisleadASessionEndpointPassesByNameOnly(t *testing.T) {
	left := []string{
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-client-cert", "x-forwarded-anything", "forwarded", "x-real-ip", "via",
		"true-client-ip", "cf-connecting-ip", "x-client-ip", "client-cert", "ssl-client-verify", "x-ssl-client-cert", "x-envoy-external-address",
		"remote-user", "x-remote-user", "x-auth-request-user", "x-original-url", "x-rewrite-url", "x-original-method",
		"x-http-method-override", "x-http-method", "x-method-override",
		"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range", "cache-control", "pragma", "prefer",
		"http2-settings", "max-forwards", "content-range", "content-language", "early-data",
		"cdn-loop", "client-cert-chain", "client-ip", "fastly-client-ip", "x-cluster-client-ip", "x-host", "x-original-host", "x-original-uri",
		"x-proxyuser-ip", "remote-email", "remote-groups", "remote-name", "x-remote-group", "x-webauth-user", "priority", "alt-used",
		"content-digest", "content-disposition", "content-location", "content-md5", "digest", "repr-digest", "want-content-digest", "want-repr-digest",
		"x_forwarded_for", "x_forwarded.for", "x.real.ip", "transfer_encoding", "content.length",
	}
	passing := []string{
		"authorization", "cookie", "user-agent", "accept", "accept-language", "origin", "referer", "traceparent", "tracestate", "baggage", "sec-fetch-site",
		"x-session-token", "x-request-id", "x-tenant", "tenant", "x_tenant", "x-api-key", "dpop", "x-forward", "remote", "rangefinder", "x-host-id",
	}
	md := grpcmd.MD{}
	raw := http.Header{}
	for _, key := range slices.Concat(left, passing) {
		md.Set(key, "v")
		raw[textproto.CanonicalMIMEHeaderKey(key)] = []string{"v"}
	}
	header, cleaned := authmd.Header(md), authmd.Clean(raw)
	for _, key := range left {
		name := textproto.CanonicalMIMEHeaderKey(key)
		if header[name] != nil || cleaned[name] != nil {
			t.Errorf("%s came out unasked", key)
		}
		if got := authmd.Values(md, key); !slices.Equal(got, []string{"v"}) {
			t.Errorf("Values(%s) = %q", key, got)
		}
		if got := authmd.CleanValues(raw, key); !slices.Equal(got, []string{"v"}) {
			t.Errorf("CleanValues(%s) = %q", key, got)
		}
		if !authmd.Forwardable(name) {
			t.Errorf("%s cannot be had by its name", key)
		}
	}
	for _, key := range passing {
		if name := textproto.CanonicalMIMEHeaderKey(key); header.Get(name) != "v" || cleaned.Get(name) != "v" {
			t.Errorf("%s did not come out", key)
		}
	}
}

func TestRawIsAsItCame(t *testing.T) {
	tests := map[string]struct {
		md   grpcmd.MD
		key  string
		want []string
	}{
		"crumbs are not joined":                  {grpcmd.MD{"cookie": {"a", "b"}}, "cookie", []string{"a", "b"}},
		"values are not cleaned":                 {grpcmd.MD{"x-a": {"1\r\n"}}, "x-a", []string{"1\r\n"}},
		"binary values are not encoded":          {grpcmd.MD{"a-bin": {"\xff"}}, "a-bin", []string{"\xff"}},
		"the gateway's cookie where none is":     {grpcmd.MD{"grpcgateway-cookie": {"a", "b"}}, "cookie", []string{"a", "b"}},
		"the gateway's authorization":            {grpcmd.MD{"grpcgateway-authorization": {"a"}}, "authorization", []string{"a"}},
		"the native one where there are both":    {grpcmd.MD{"cookie": {"n"}, "grpcgateway-cookie": {"g"}}, "cookie", []string{"n"}},
		"the gateway's own name beside a native": {grpcmd.MD{"cookie": {"n"}, "grpcgateway-cookie": {"g"}}, "grpcgateway-cookie", []string{"g"}},
		"the gateway's own name alone":           {grpcmd.MD{"grpcgateway-cookie": {"g"}}, "grpcgateway-cookie", nil},
		"a name that passes by name only":        {grpcmd.MD{"x-forwarded-for": {"1"}}, "x-forwarded-for", []string{"1"}},
		"a name that never passes":               {grpcmd.MD{"te": {"1"}}, "te", nil},
		"a name of grpc's":                       {grpcmd.MD{"grpc-timeout": {"1"}}, "grpc-timeout", nil},
		"what Connection lists":                  {grpcmd.MD{"connection": {"close, X-Hop"}, "x-hop": {"1"}}, "x-hop", nil},
		"a native one that Connection lists":     {grpcmd.MD{"connection": {"cookie"}, "cookie": {"n"}, "grpcgateway-cookie": {"g"}}, "cookie", []string{"g"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := authmd.Raw(test.md, test.key); !slices.Equal(got, test.want) {
				t.Errorf("Raw = %q, want %q", got, test.want)
			}
		})
	}
}

func TestSizeIsThatOfTheJoinedLine(t *testing.T) {
	for _, values := range [][]string{nil, {""}, {"a=1"}, {"a=1", "", "b=2; c"}} {
		if got, want := authmd.Size(values), len(strings.Join(values, "; ")); got != want {
			t.Errorf("Size(%q) = %d, want %d", values, got, want)
		}
	}
}

// Measuring what a client sent costs nothing that grows with it: 4,000 crumbs of 5 KB are
// 7 KB on the wire.
func TestMeasuringABombCopiesNothing(t *testing.T) {
	crumb := strings.Repeat("s=;", 1700)
	for _, key := range []string{"cookie", "grpcgateway-cookie"} {
		md := grpcmd.MD{key: slices.Repeat([]string{crumb}, 4000)}
		var size int
		if n := testing.AllocsPerRun(10, func() { size = authmd.Size(authmd.Raw(md, "cookie")) }); n != 0 {
			t.Errorf("%s: %v allocations", key, n)
		}
		if size != 4000*len(crumb)+2*3999 {
			t.Errorf("%s: size %d", key, size)
		}
		if &authmd.Raw(md, "cookie")[0] != &md[key][0] {
			t.Errorf("%s was copied", key)
		}
	}
}

func TestValuesOfOneHopAreNone(t *testing.T) {
	md := grpcmd.MD{"connection": {"close", "X-Hop , authorization"}, "x-hop": {"1"}, "authorization": {"Bearer t"}, "x-end": {"2"}}
	raw := http.Header{"Connection": {"close", "X-Hop , authorization"}, "X-Hop": {"1"}, "Authorization": {"Bearer t"}, "X-End": {"2"}}
	for key, want := range map[string][]string{"x-hop": nil, "authorization": nil, "connection": nil, "x-end": {"2"}} {
		if got := authmd.Values(md, key); !slices.Equal(got, want) {
			t.Errorf("Values(%s) = %q, want %q", key, got, want)
		}
		if got := authmd.CleanValues(raw, key); !slices.Equal(got, want) {
			t.Errorf("CleanValues(%s) = %q, want %q", key, got, want)
		}
	}
}

func TestAGatewayNameThatSaysTheSameHasNoValues(t *testing.T) {
	for cookie, want := range map[string][]string{"a=1; b=2": nil, "a=2": {"a=1; b=2"}} {
		md := grpcmd.MD{"cookie": {cookie}, "grpcgateway-cookie": {"a=1", "b=2"}}
		raw := http.Header{"Cookie": {cookie}, "Grpcgateway-Cookie": {"a=1", "b=2"}}
		if got := authmd.Values(md, "grpcgateway-cookie"); !slices.Equal(got, want) {
			t.Errorf("Values = %q beside %q, want %q", got, cookie, want)
		}
		if got := authmd.CleanValues(raw, "Grpcgateway-Cookie"); !slices.Equal(got, want) {
			t.Errorf("CleanValues = %q beside %q, want %q", got, cookie, want)
		}
	}
}

func TestCleanValuesLeavesBinaryValuesAlone(t *testing.T) {
	if got := authmd.CleanValues(http.Header{"Trace-Bin": {"AP8NCg"}}, "trace-bin"); !slices.Equal(got, []string{"AP8NCg"}) {
		t.Errorf("got %q", got)
	}
}

func TestCleanValuesSharesNothing(t *testing.T) {
	header := http.Header{"X-A": {"1"}, "Cookie": {"a=1"}}
	authmd.CleanValues(header, "X-A")[0] = "changed"
	authmd.CleanValues(header, "cookie")[0] = "changed"
	if header["X-A"][0] != "1" || header["Cookie"][0] != "a=1" {
		t.Errorf("the header was changed to %v", header)
	}
}

func TestIncomingHeader(t *testing.T) {
	if got := authmd.IncomingHeader(t.Context()); got == nil || len(got) != 0 {
		t.Errorf("without metadata: %v", got)
	}
	ctx := grpcmd.NewIncomingContext(t.Context(), grpcmd.Pairs("x-a", "1"))
	if got := authmd.IncomingHeader(ctx); got.Get("X-A") != "1" {
		t.Errorf("got %v", got)
	}
}

func TestCleanLeavesBinaryValuesAlone(t *testing.T) {
	header := http.Header{"Trace-Bin": {"AP8NCg"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "x-lower": {"1"}, "Cookie": {"a=1", "b=2"}}
	want := http.Header{"Trace-Bin": {"AP8NCg"}, "X-Lower": {"1"}, "Cookie": {"a=1; b=2"}}
	if got := authmd.Clean(header); !reflect.DeepEqual(got, want) {
		t.Errorf("Clean = %v, want %v", got, want)
	}
}

// TestCookiesInTwoCasesAreOneLine: a header that was made by hand may have both.
func TestCookiesInTwoCasesAreOneLine(t *testing.T) {
	for _, name := range []string{"Cookie", "Grpcgateway-Cookie"} {
		got := authmd.Clean(http.Header{name: {"a=1"}, strings.ToLower(name): {"b=2"}})["Cookie"]
		if !slices.Equal(got, []string{"a=1; b=2"}) && !slices.Equal(got, []string{"b=2; a=1"}) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// FuzzHeader: nothing that must not come out does, what comes out can be sent, and
// Values agrees with Header.
func FuzzHeader(f *testing.F) {
	f.Add("cookie", "a=1", "grpcgateway-cookie", "a=1; b", "x-a-bin", "\x00\xff")
	f.Add("authorization", "Bearer a", "grpcgateway-authorization", "Bearer b", "authorization", "Bearer c")
	f.Add("x-forwarded-for", "1", "x_real_ip", "2", "connection", "x-forwarded-for, cookie")
	f.Add("cookie", "1\n", "grpcgateway-cookie", "2", "connection", "grpcgateway-cookie")
	f.Add("te", "1", "grpc-x", "2", ":path", "/")
	f.Add("x-a", "1\r\nx-b: 2", "x\r\n", "3", "connection", "x-a")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, k3, v3 string) {
		md := grpcmd.MD{}
		md.Append(k1, v1, v2)
		md.Append(k2, v2)
		md.Append(k3, v3)
		before := md.Copy()
		header := authmd.Header(md)
		if !reflect.DeepEqual(md, before) {
			t.Fatalf("the metadata was changed from %v to %v", before, md)
		}
		for name, values := range header {
			if name != textproto.CanonicalMIMEHeaderKey(name) || !authmd.Forwardable(name) {
				t.Errorf("the name %q came out", name)
			}
			for _, value := range values {
				if strings.ContainsAny(value, "\r\n\x00") {
					t.Errorf("%s: %q came out", name, value)
				}
			}
		}
		if n := len(header["Cookie"]); n > 1 {
			t.Errorf("%d lines of cookies", n)
		}
		raw := http.Header{}
		for key, values := range md {
			if !strings.HasSuffix(key, "-bin") { // which Header encodes
				raw[textproto.CanonicalMIMEHeaderKey(key)] = values
			}
			name := textproto.CanonicalMIMEHeaderKey(key)
			got := authmd.Values(md, key)
			if _, out := header[name]; (out || !byName(key)) && !slices.Equal(got, header[name]) {
				t.Errorf("Values(%q) = %q, Header has %q, of %v", key, got, header[name], md)
			}
			if len(got) > 0 && (!authmd.Forwardable(key) || authmd.Raw(md, key) == nil) || key == "cookie" && authmd.Size(authmd.Raw(md, key)) < authmd.Size(got) {
				t.Errorf("Values(%q) = %q of %v", key, got, md)
			}
		}
		for name := range raw {
			if got, want := authmd.CleanValues(raw, name), authmd.Values(md, strings.ToLower(name)); !slices.Equal(got, want) {
				t.Errorf("CleanValues(%q) = %q, Values has %q, of %v", name, got, want, md)
			}
		}
		request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Host: "h", Header: header}
		var sent bytes.Buffer
		if err := request.Write(&sent); err == nil && bytes.Count(sent.Bytes(), []byte("\r\n")) > 4+lines(header) {
			t.Errorf("%q was smuggled", sent.String())
		}
	})
}

// byName reports whether Header leaves a key out that Values returns.
func byName(key string) bool {
	return authmd.Forwardable(key) && len(authmd.Header(grpcmd.MD{key: {"v"}})) == 0
}

func lines(header http.Header) int {
	n := 0
	for values := range maps.Values(header) {
		n += len(values)
	}
	return n
}

func ExampleHeader() {
	md := grpcmd.Pairs(
		":authority", "api.example",
		"content-type", "application/grpc",
		"cookie", "theme=dark",
		"cookie", "sid=abc",
		"x-request-id", "7",
	)
	for name, values := range authmd.Header(md) {
		fmt.Println(name, values)
	}
	// Unordered output:
	// Cookie [theme=dark; sid=abc]
	// X-Request-Id [7]
}
