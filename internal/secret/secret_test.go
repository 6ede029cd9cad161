package secret_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/internal/secret"
)

const known = "0123456789abcdef0123456789abcdef"

func newSet(t *testing.T, header string, secrets ...string) secret.Set {
	t.Helper()
	s, err := secret.New("With", header, secrets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOnlyTheSecretIsToldOnce(t *testing.T) {
	two := newSet(t, "X-Gateway-Secret", known, strings.Repeat("s", 1024))
	none := newSet(t, secret.DefaultHeader)
	for name, test := range map[string]struct {
		set    secret.Set
		header map[string][]string
		want   bool
	}{
		"the first":                 {two, map[string][]string{"x-gateway-secret": {known}}, true},
		"the second":                {two, map[string][]string{"x-gateway-secret": {strings.Repeat("s", 1024)}}, true},
		"in another case":           {two, map[string][]string{"X-Gateway-SECRET": {known}}, true},
		"beside other headers":      {two, map[string][]string{"x-gateway-secret": {known}, "x-gateway-secret-bin": {"other"}}, true},
		"beside an empty list":      {two, map[string][]string{"x-gateway-secret": {known}, "X-Gateway-Secret": {}}, true},
		"the second and more":       {two, map[string][]string{"x-gateway-secret": {strings.Repeat("s", 1025)}}, false},
		"the beginning":             {two, map[string][]string{"x-gateway-secret": {known[:31]}}, false},
		"in another case itself":    {two, map[string][]string{"x-gateway-secret": {strings.ToUpper(known)}}, false},
		"twice":                     {two, map[string][]string{"x-gateway-secret": {known, known}}, false},
		"twice, in two cases":       {two, map[string][]string{"x-gateway-secret": {known}, "X-Gateway-Secret": {known}}, false},
		"with another beside it":    {two, map[string][]string{"x-gateway-secret": {known, "other"}}, false},
		"under an alias":            {two, map[string][]string{"x_gateway_secret": {known}}, false},
		"as grpc-gateway has it":    {two, map[string][]string{"grpcgateway-x-gateway-secret": {known}}, false},
		"nothing":                   {two, nil, false},
		"an empty one":              {two, map[string][]string{"x-gateway-secret": {""}}, false},
		"an empty one, none is set": {none, map[string][]string{"x-gateway-secret": {""}}, false},
		"any, none is set":          {none, map[string][]string{"x-gateway-secret": {known}}, false},
		"nothing, none is set":      {none, nil, false},
		"of a zero Set":             {secret.Set{}, map[string][]string{"": {""}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.set.Told(test.header); got != test.want {
				t.Errorf("Told = %t", got)
			}
		})
	}
}

// Every byte of the digest counts: a comparison that stopped after the first, or began
// after it, would take one in 256 guesses for the secret.
func TestTheWholeDigestIsCompared(t *testing.T) {
	s := newSet(t, secret.DefaultHeader, known)
	want := sha256.Sum256([]byte(known))
	var seen [sha256.Size]bool
	left := len(seen)
	for i := 0; left > 0; i++ {
		if i == 1<<20 {
			t.Fatal("no guess shares a byte of the digest")
		}
		guess := fmt.Sprintf("%032d", i)
		digest := sha256.Sum256([]byte(guess))
		for at := range digest {
			if digest[at] != want[at] || seen[at] {
				continue
			}
			seen[at] = true
			left--
			if s.Told(map[string][]string{secret.DefaultHeader: {guess}}) {
				t.Errorf("%s passes: its digest shares byte %d", guess, at)
			}
		}
	}
}

func TestAliasesOfTheHeader(t *testing.T) {
	byDefault, named := newSet(t, secret.DefaultHeader), newSet(t, "Our.Secret", known)
	gateways := newSet(t, "grpcgateway-secret", known)
	for name, test := range map[string]struct {
		set  secret.Set
		key  string
		want bool
	}{
		"the name, without a secret":           {byDefault, "x-gateway-secret", true},
		"its alias, without a secret":          {byDefault, "x_gateway.secret", true},
		"in binary":                            {byDefault, "X-Gateway-Secret-Bin", true},
		"in binary, with an alias":             {byDefault, "x_gateway_secret_bin", true},
		"as grpc-gateway has it":               {byDefault, "grpcgateway-x-gateway-secret", true},
		"as two grpc-gateways have it":         {byDefault, "Grpcgateway_grpcgateway-x-gateway-secret", true},
		"a name that goes on":                  {byDefault, "x-gateway-secrets", false},
		"a name that goes on like binary":      {byDefault, "x-gateway-secret-bim", false},
		"a name that ends before":              {byDefault, "x-gateway-secre", false},
		"nothing":                              {byDefault, "", false},
		"nothing, of a zero Set":               {secret.Set{}, "", false},
		"the prefix alone, of a zero Set":      {secret.Set{}, "grpcgateway-", false},
		"the name of another":                  {named, "our-secret", true},
		"the name by default, where not named": {named, "x-gateway-secret", false},
		"a name that begins as grpc-gateway's": {gateways, "GRPCGATEWAY_SECRET", true},
		"what is left without that":            {gateways, "secret", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.set.IsHeader(test.key); got != test.want {
				t.Errorf("IsHeader = %t", got)
			}
		})
	}
}

func TestNewRefusesWhatIsNoSecret(t *testing.T) {
	const visible = "With: secret 1 holds a byte that is not visible ASCII, or a comma"
	for name, test := range map[string]struct {
		header string
		secret string
		want   string
	}{
		"31 bytes":           {secret.DefaultHeader, known[1:], "With: secret 1 has 31 bytes, want 32 to 1024"},
		"1025 bytes":         {secret.DefaultHeader, strings.Repeat("s", 1025), "With: secret 1 has 1025 bytes, want 32 to 1024"},
		"a space":            {secret.DefaultHeader, known + " ", visible},
		"a comma":            {secret.DefaultHeader, known + ",", visible},
		"a DEL":              {secret.DefaultHeader, known + "\x7f", visible},
		"no ASCII":           {secret.DefaultHeader, known + "é", visible},
		"a header of no use": {"a b", known, `WithSecretHeader: "a b" cannot hold a secret`},
		"an identity header": {"X_Auth_Secret", known, `WithSecretHeader: "X_Auth_Secret" cannot hold a secret`},
		"a binary header":    {"Secret-BIN", known, `WithSecretHeader: "Secret-BIN" cannot hold a secret`},
		"both":               {"", "", "WithSecretHeader: \"\" cannot hold a secret\nWith: secret 1 has 0 bytes, want 32 to 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := secret.New("With", test.header, []string{test.secret}); err == nil || err.Error() != test.want {
				t.Errorf("err = %v, want %v", err, test.want)
			}
		})
	}
}

func TestAConcealedSecretIsNotPrinted(t *testing.T) {
	held := struct{ s secret.Concealed }{secret.Conceal(known)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d"} {
		if got := fmt.Sprintf(verb, held); strings.Contains(got, known) || strings.Contains(got, fmt.Sprintf("%x", known)) {
			t.Errorf("%s: %s", verb, got)
		}
	}
	if held.s() != known {
		t.Error("it is another")
	}
}
