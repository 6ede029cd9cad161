package incoming_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
)

// TestANameIsFoundInAnyCase: of what is noted beforehand, too, all that came counts.
func TestANameIsFoundInAnyCase(t *testing.T) {
	for claim, row := range map[string]struct {
		header http.Header
		name   incoming.Name
		want   []string // in any order
	}{
		"as net/http writes it":             {http.Header{"Authorization": {"a"}, "Cookie": {"c"}}, incoming.Authorization, []string{"a"}},
		"as gRPC writes it":                 {http.Header{"authorization": {"a"}, "cookie": {"c"}}, incoming.Authorization, []string{"a"}},
		"in both ways":                      {http.Header{"Authorization": {"a"}, "authorization": {"b"}}, incoming.Authorization, []string{"a", "b"}},
		"in three":                          {http.Header{"Authorization": {"a"}, "authorization": {"b"}, "AUTHORIZATION": {"d"}}, incoming.Authorization, []string{"a", "b", "d"}},
		"one of them empty":                 {http.Header{"Authorization": {}, "authorization": {"b"}}, incoming.Authorization, []string{"b"}},
		"a cookie in both":                  {http.Header{"Cookie": {"c"}, "cookie": {"d"}}, incoming.Cookie, []string{"c", "d"}},
		"a cookie beside an odd credential": {http.Header{"authorization": {"b"}, "Cookie": {"c"}}, incoming.Cookie, []string{"c"}},
		"none":                              {http.Header{"Cookie2": {"c"}, "Authorisation": {"a"}, "Cokies": {"d"}}, incoming.Cookie, nil},
		"another name":                      {http.Header{"x-session": {"s"}}, incoming.NewName("X-Session"), []string{"s"}},
	} {
		var s incoming.Supplied
		for range 2 { // the second time in the memory of the first
			s.Take(row.header, nil, nil)
			got := slices.Sorted(slices.Values(s.Raw(row.name)))
			if !slices.Equal(got, row.want) {
				t.Errorf("%s: %q, want %q", claim, got, row.want)
			}
			s.Empty()
			if left := s.Raw(row.name); left != nil {
				t.Errorf("%s: %q is left", claim, left)
			}
		}
	}
}
