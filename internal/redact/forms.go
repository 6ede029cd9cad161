package redact

import (
	"net/url"
	"slices"
	"strings"
)

const (
	// minSecret is the length from which the value of just any cookie is cut out, and a
	// part of a secret: "1" and "en" are no secrets, and a text without them says nothing
	// any more.
	minSecret = 4
	// minSignature is the length from which what follows a dot is taken for a signature.
	minSignature = 16
)

// Forms appends every form of a secret that could turn up in a text to dst: as it is;
// without its own quotes and escapes; and, where it seems to be signed, the token and the
// signature by themselves, as better-auth ("token.signature") and Express
// ("s:token.signature") put them together.
func Forms(dst []string, secret string) []string {
	part := func(s string) {
		if len(s) >= minSecret {
			dst = append(dst, s)
		}
	}
	secret = strings.TrimSpace(secret)
	if secret != "" {
		dst = append(dst, secret)
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(secret, `"`), `"`)
	part(bare)
	if plain, err := url.QueryUnescape(bare); err == nil {
		part(plain)
	}
	if plain, err := url.PathUnescape(bare); err == nil {
		bare = plain
		part(plain)
	}
	if strings.Contains(bare, " ") {
		part(strings.ReplaceAll(bare, " ", "+")) // as a query has it
	}
	if dot := strings.LastIndexByte(bare, '.'); dot >= 0 {
		part(bare[:dot])
		part(strings.TrimPrefix(bare[:dot], "s:"))
		if signature := bare[dot+1:]; len(signature) >= minSignature {
			part(signature)
		}
	}
	return dst
}

// Cookies appends what of a Cookie header's line may be secret to dst: the values of its
// cookies, but the shortest.
func Cookies(dst []string, line string) []string {
	for pair := range strings.SplitSeq(line, ";") {
		if _, value, ok := strings.Cut(pair, "="); ok && len(strings.TrimSpace(value)) >= minSecret {
			dst = append(dst, strings.TrimSpace(value))
		}
	}
	return dst
}

// forms are the forms of all secrets, sorted, so that one search finds the longest of
// them with which a text begins.
type forms struct {
	sorted  []string
	within  []int // the longest other form that each begins with; -1: none
	longest int   // the length of the longest
}

func newForms(secrets []string) *forms {
	f := &forms{}
	for _, secret := range secrets {
		f.sorted = Forms(f.sorted, secret)
	}
	slices.Sort(f.sorted)
	f.sorted = slices.Compact(f.sorted)
	f.within = make([]int, len(f.sorted))
	for i, form := range f.sorted {
		f.longest = max(f.longest, len(form))
		// Between a string and one that it begins with stand only others that begin so.
		before := i - 1
		for before >= 0 && !strings.HasPrefix(form, f.sorted[before]) {
			before = f.within[before]
		}
		f.within[i] = before
	}
	return f
}

// beginning returns the length of the longest form with which text begins; 0: none.
func (f *forms) beginning(text []byte) int {
	after, _ := slices.BinarySearchFunc(f.sorted, text, func(form string, text []byte) int {
		if form <= string(text) { // compares without copying
			return -1
		}
		return 1
	})
	// Every form that text begins with is this one, or one that this one begins with.
	at := after - 1
	if at < 0 {
		return 0
	}
	same := 0
	for same < min(len(text), len(f.sorted[at])) && f.sorted[at][same] == text[same] {
		same++
	}
	for at >= 0 && len(f.sorted[at]) > same {
		at = f.within[at]
	}
	if at < 0 {
		return 0
	}
	return len(f.sorted[at])
}
