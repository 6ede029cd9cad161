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

// FuzzHeader: nothing that must not come out does, what comes out can be sent, and
// Values agrees with Header.
func FuzzHeader(f *testing.F) {
	f.Add("cookie", "a=1", "grpcgateway-cookie", "a=1; b", "x-a-bin", "\x00\xff")
	f.Add("authorization", "Bearer a", "grpcgateway-authorization", "Bearer b", "authorization", "Bearer c")
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
		if _, listed := md["connection"]; !listed {
			for key := range md {
				if got, want := authmd.Values(md, key), header[textproto.CanonicalMIMEHeaderKey(key)]; !slices.Equal(got, want) {
					t.Errorf("Values(%q) = %q, Header has %q, of %v", key, got, want, md)
				}
			}
		}
		request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Host: "h", Header: header}
		var sent bytes.Buffer
		if err := request.Write(&sent); err == nil && bytes.Count(sent.Bytes(), []byte("\r\n")) > 4+lines(header) {
			t.Errorf("%q was smuggled", sent.String())
		}
	})
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
