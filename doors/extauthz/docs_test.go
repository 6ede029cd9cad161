package extauthz_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
)

// documented returns the configurations in docs/envoy.md.
func documented(t *testing.T) (configs []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		configs = append(configs, match[1])
	}
	if len(configs) != 2 {
		t.Fatalf("%d configurations", len(configs))
	}
	return configs
}

func TestTheDocumentedConfigurationIsTheTestedOne(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	if documented(t)[0] != string(text) {
		t.Error("docs/envoy.md shows another configuration than " + configuration)
	}
}

func TestTheDocumentedRateLimit(t *testing.T) {
	t.Parallel()
	var o owner
	ada, bob := o.SignIn(authcontext.AuthContext{Subject: "ada"}), o.SignIn(authcontext.AuthContext{Subject: "bob"})
	const next, indent = "                  - name: envoy.filters.http.router\n", "                  "
	filter := indent + strings.ReplaceAll(strings.TrimSuffix(documented(t)[1], "\n"), "\n", "\n"+indent) + "\n"
	f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall), extauthz.WithSubjectMetadata()), next, filter+next)
	const limit = 10
	for i := range limit + 1 {
		_, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), ada), &grpc_testing.SimpleRequest{})
		if want := i < limit; (status.Code(err) == codes.OK) != want {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if _, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), bob), &grpc_testing.SimpleRequest{}); err != nil {
		t.Errorf("bob is limited by ada: %v", err)
	}
}
