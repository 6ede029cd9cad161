package cache_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

func TestKeysOfDifferentPartsDiffer(t *testing.T) {
	long := strings.Repeat("x", 5000)
	lists := [][]string{
		nil, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"a", "bc"}, {"ab", "c"}, {"abc"}, {"a", "b", "c"}, {"a b", "c"}, {"a", "b c"},
		{"\x01a"}, {"a\x01"}, {"a\x00", "b"}, {"a", "\x00b"}, {strings.Repeat("x", 72)}, {strings.Repeat("x", 73)},
		{strings.Repeat("x", 127)}, {strings.Repeat("x", 128)}, {long + "1"}, {long + "2"}, {long, "1"}, {"1", long},
	}
	seen := map[cache.Key][]string{}
	for _, parts := range lists {
		key := cache.NewKey(parts...)
		if other, ok := seen[key]; ok {
			t.Errorf("%.20q and %.20q share a key", other, parts)
		}
		seen[key] = parts
		if key != cache.NewKey(slices.Clone(parts)...) {
			t.Errorf("%.20q has two keys", parts)
		}
	}
}

// FuzzNewKey: no two different inputs have one key.
func FuzzNewKey(f *testing.F) {
	f.Add("a\nbc", "ab\nc")
	f.Add("", "\n")
	f.Add("a\n", "a")
	f.Add("\x01a", "a")
	f.Fuzz(func(t *testing.T, a, b string) {
		one, other := strings.Split(a, "\n"), strings.Split(b, "\n")
		if same := cache.NewKey(one...) == cache.NewKey(other...); same != slices.Equal(one, other) {
			t.Errorf("%q and %q share a key: %t", one, other, same)
		}
	})
}

func ExampleNewKey() {
	fmt.Println(cache.NewKey("a", "bc") == cache.NewKey("ab", "c"))
	// Output: false
}
