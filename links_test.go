package sessionauth_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	codeBlock  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	inlineLink = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)
	linkTarget = regexp.MustCompile(`(?m)^\[[^\]]+\]:\s+(\S+)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
	linkText   = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

// linked returns where the links of a page go.
func linked(text string) []string {
	text = inlineCode.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "")
	var targets []string
	for _, form := range []*regexp.Regexp{inlineLink, linkTarget} {
		for _, match := range form.FindAllStringSubmatch(text, -1) {
			targets = append(targets, match[1])
		}
	}
	return targets
}

// anchors returns the names by which the headings of a page can be linked, as hosts of
// Markdown make them: in lower case, without punctuation, a hyphen for each space, and
// numbered when there are several.
func anchors(text string) []string {
	var names []string
	count := map[string]int{}
	for _, match := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linkText.ReplaceAllString(match[1], "$1"))
		if n := count[name]; n > 0 {
			names = append(names, fmt.Sprintf("%s-%d", name, n))
		} else {
			names = append(names, name)
		}
		count[name]++
	}
	return names
}

// checkLink reports what is wrong with a link of a page; other sites are not asked.
func checkLink(page, target string, read func(name string) (string, error)) error {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return nil
	}
	name, anchor, hasAnchor := strings.Cut(target, "#")
	file := path.Join(path.Dir(page), name)
	if name == "" {
		file = page
	}
	if !filepath.IsLocal(file) {
		return fmt.Errorf("%s links to %s, outside of the repository", page, target)
	}
	text, err := read(file)
	switch {
	case err != nil:
		return fmt.Errorf("%s links to %s: %w", page, target, err)
	case hasAnchor && (!strings.HasSuffix(file, ".md") || !slices.Contains(anchors(text), anchor)):
		return fmt.Errorf("%s links to %s: no such heading", page, target)
	}
	return nil
}

// readPath reads a file; a folder has no text.
func readPath(name string) (string, error) {
	if info, err := os.Stat(name); err != nil || info.IsDir() {
		return "", err
	}
	text, err := os.ReadFile(name)
	return string(text), err
}

func TestLinksLeadSomewhere(t *testing.T) {
	others, err := filepath.Glob("examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]bool{}
	for _, page := range append(append(pages(t), "CHANGELOG.md", "CONTRIBUTING.md"), others...) {
		for _, target := range linked(readFile(t, page)) {
			if err := checkLink(page, target, readPath); err != nil {
				t.Error(err)
			}
			name, _, _ := strings.Cut(target, "#")
			if to := path.Join(path.Dir(page), name); to != page {
				from[to] = true
			}
		}
	}
	for _, page := range pages(t)[1:] {
		if !from[page] {
			t.Errorf("no page links to %s", page)
		}
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	files := map[string]string{
		"README.md":    "# Top\n\n## Which door?\n\n```sh\n# not a heading\n```\n\n## Twice\n\n## Twice\n\n### `With` a [link](docs/a.md)\n",
		"docs/a.md":    "# A\n",
		"cache":        "",
		"cache/key.go": "package cache\n",
	}
	read := func(name string) (string, error) {
		text, ok := files[name]
		if !ok {
			return "", os.ErrNotExist
		}
		return text, nil
	}
	for _, row := range []struct {
		name, page, target, want string
	}{
		{"a heading of the page", "README.md", "#which-door", ""},
		{"the second of two headings", "README.md", "#twice-1", ""},
		{"a heading with code and a link", "README.md", "#with-a-link", ""},
		{"a page in a folder", "README.md", "docs/a.md", ""},
		{"a folder", "README.md", "cache", ""},
		{"another page's heading, upwards", "docs/a.md", "../README.md#top", ""},
		{"another site is not asked", "README.md", "https://example.com/nowhere#x", ""},
		{"no such heading", "README.md", "#not-a-heading", "no such heading"},
		{"the third of two", "README.md", "#twice-2", "no such heading"},
		{"no such heading of another page", "README.md", "docs/a.md#b", "no such heading"},
		{"a heading of what is no page", "README.md", "cache/key.go#package-cache", "no such heading"},
		{"no such file", "README.md", "docs/b.md", "file does not exist"},
		{"a path as seen from the root", "docs/a.md", "docs/a.md", "file does not exist"},
		{"out of the repository", "docs/a.md", "../../README.md", "outside of the repository"},
	} {
		t.Run(row.name, func(t *testing.T) {
			switch err := checkLink(row.page, row.target, read); {
			case row.want == "" && err != nil:
				t.Error(err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestLinksOfAPage(t *testing.T) {
	got := linked("[a](a.md) ![b](b.png \"B\") [`c`](c#d)\n\n```go\nx[i](y)\n```\nand `m[k](v)`\n\n[e]: e.md\n")
	if want := []string{"a.md", "b.png", "c#d", "e.md"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// unwanted is what no page says: what is left to do, where somebody's files are, and
// words that promise without telling.
var unwanted = regexp.MustCompile(`\b(?:TODO|FIXME|XXX|TBD)\b|(?i)\b(?:coming soon|not (?:yet )?implemented|simply|obviously|easily|seamless(?:ly)?|blazing(?:ly)?|powerful|effortless(?:ly)?|state of the art)\b|/(?:root|home|tmp|mnt)/[a-z]`)

func TestPagesHaveNoUnwantedWords(t *testing.T) {
	for _, page := range append(pages(t), "CONTRIBUTING.md", "CHANGELOG.md") {
		for i, line := range strings.Split(readFile(t, page), "\n") {
			if word := unwanted.FindString(line); word != "" {
				t.Errorf("%s:%d: %q", page, i+1, word)
			}
		}
	}
}

// The survivors that are argued stand in docs/testing.md as the tool reads them.
func TestTestingPageListsTheArguedMutants(t *testing.T) {
	var list []string
	for line := range strings.Lines(readFile(t, "internal/mutants/argued.txt")) {
		if !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	if text := strings.TrimSpace(strings.Join(list, "")); !strings.Contains(readFile(t, "docs/testing.md"), "```text\n"+text+"\n```") {
		t.Errorf("docs/testing.md does not list\n%s", text)
	}
}
