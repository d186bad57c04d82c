package docs

import (
	"strings"
	"testing"
)

// TestCheck: each rule takes what keeps it, and says of what doesn't where and why.
func TestCheck(t *testing.T) {
	checker, err := NewChecker("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, page string
		problem    string // part of it; empty: there is none
		line       string
	}{
		{name: "shell", page: "```sh\necho a\n```\n"},
		{name: "no shell", page: "a\n\n```sh\nif true\n```\n", problem: "no shell", line: ":3:"},
		{name: "a terminal", page: "```sh terminal hub\nunisondb server -dev\n```\n"},
		{name: "no shell in a terminal", page: "```sh terminal\n(\n```\n", problem: "no shell", line: ":1:"},
		{name: "validated", page: "```sh validate\nsudo unisondb kv put -ttl=10s a b # in another place\n```\n"},
		{name: "validated, no shell", page: "```sh validate\necho 'a\n```\n", problem: "no shell", line: ":1:"},
		{name: "an unknown flag", page: "```sh validate\nunisondb kv put -tlt=10s a b\n```\n", problem: "tlt", line: ":1:"},
		{name: "an unknown command", page: "```sh validate\nunisondb kv putt a b\n```\n", problem: "putt", line: ":1:"},
		{name: "too few arguments", page: "```sh validate\necho b | bin/unisondb kv put\n```\n", problem: "unisondb kv put", line: ":1:"},
		{name: "an unknown command inside of another", page: "```sh validate\np=$(unisondb kv putt a b)\n```\n", problem: "putt", line: ":1:"},
		{name: "an unknown word behind sh", page: "```sh nowhere\ntrue\n```\n", problem: `a block of "sh nowhere"`, line: ":1:"},
		{name: "configuration", page: "```hcl\nnode_id = \"a\"\n```\n"},
		{name: "configuration with a secret", page: "```hcl\nnotifier \"webhook\" \"a\" {\n  namespaces = [\"a\"]\n  config {\n    url    = \"https://example.com\"\n    secret = env(\"HOOK_SECRET\")\n  }\n}\nnamespace \"a\" {}\n```\n"},
		{name: "an unknown key", page: "\n\n```hcl [hub.hcl]\n\nnode_idd = \"a\"\n```\n", problem: "node_id", line: ":5:1:"},
		{name: "JSON", page: "```json\n{\"a\":1}\n```\n"},
		{name: "no JSON", page: "```json\n{\"a\":…}\n```\n", problem: "no JSON", line: ":1:"},
		{name: "a quotation", page: "```go\nfunc main() { notifier.Serve(program()) }\n```\n"},
		{name: "a quotation of a program without an extension", page: "```python\n    def notify(self, batch):\n```\n"},
		{name: "a quotation that isn't one", page: "```go\nfunc mine() { notifier.Serve(program(" + ")) }\n```\n", problem: "stands in no file", line: ":1:"},
		{name: "a quotation from another language", page: "```python\nfunc main() { notifier.Serve(program()) }\n```\n", problem: "stands in no file", line: ":1:"},
		{name: "free text", page: "```text\n┌─┐\n```\n"},
		{name: "no language", page: "```\nwhat\n```\n", problem: "no language", line: ":1:"},
		{name: "another language", page: "```rust\nwhat\n```\n", problem: `"rust"`, line: ":1:"},
		{name: "a tilde fence is a fence", page: "~~~ruby\nwhat\n~~~\n", problem: `"ruby"`, line: ":1:"},
		{name: "a block in a list", page: "1. a\n\n   ```json\n   {\n   ```\n", problem: "no JSON", line: ":3:"},
		{name: "code of a file", page: "<<< @/../examples/notifier-file/main.go\n"},
		{name: "code of a file that isn't there", page: "\n<<< @/../examples/notifier-file/gone.go\n", problem: "gone.go", line: ":2:"},
		{name: "a region that isn't there", page: "<<< @/../examples/notifier-file/main.go#gone{go}\n", problem: "no whole region gone", line: ":1:"},
		{name: "a page that isn't there", page: "a\n<!--@include: ./gone.md-->\n", problem: "gone.md", line: ":2:"},
		{name: "no shell in a directive", page: "<!-- run: ( -->\n", problem: "no shell", line: ":1:"},
		{name: "an unknown directive", page: "a\n<!-- await: true -->\n", problem: `no "await"`, line: ":2:"},
		{name: "a comment", page: "<!-- Note that ( -->\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page, err := Parse("page.md", tt.page)
			if err != nil {
				t.Fatal(err)
			}
			problems := checker.Check(page)
			if tt.problem == "" {
				if len(problems) != 0 {
					t.Errorf("problems: %v", problems)
				}
				return
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), tt.problem) || !strings.Contains(problems[0].Error(), "page.md"+tt.line) {
				t.Errorf("problems: %v; expected one at page.md%s with %q", problems, tt.line, tt.problem)
			}
		})
	}
}

// TestParseUnclosed: the end of a page isn't the end of a block.
func TestParseUnclosed(t *testing.T) {
	if _, err := Parse("page.md", "a\n\n```sh\ntrue\n"); err == nil || !strings.Contains(err.Error(), "page.md:3:") {
		t.Errorf("error %v, expected one of line 3", err)
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		shown, got string
		want       bool
	}{
		{"hello\n", "hello", true},
		{"hello\n", "hello\n\n", true},
		{"hello\n", "hello  \n", true},
		{"hello\n", "hellos\n", false},
		{"hello\n", "", false},
		{"a\nb\n", "a\n", false},
		{"a\n", "a\nb\n", false},
		{"at …\n", "at 1:2:3\n", true},
		{"at … of …:2\n", "at 1 of 3:2\n", true},
		{"at … of …:2\n", "at 1 of 3:2 b\n", false},
		{"at …\n", "in 1\n", false},
		{"…x…x\n", "x\n", false},
		{"…\nb\n", "a\na\nb\n", true},
		{"…\nb\n", "b\n", true},
		{"a\n…\nb\n…\n", "a\n1\nb\nb\n", true},
		{"a\n…\nb\n", "a\nb\nc\n", false},
		{"…\n", "", true},
	} {
		if got := matches(tt.shown, tt.got); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.shown, tt.got, got)
		}
	}
}

func TestHasRegion(t *testing.T) {
	for text, want := range map[string]bool{
		"// #region a\nx\n// #endregion a\n":           true,
		"\t// #region a\n\tx\n\t// #endregion a\n":     true,
		"# region a\nx\n# endregion a":                 true,
		"<!-- #region a -->\nx\n<!-- #endregion a -->": true,
		"# #region a\nx\n# #endregion a\n":             false, // VitePress doesn't take it
		"// #region a\nx\n":                            false,
		"// #endregion a\n// #region a\n":              false,
		"// #region a\nx\n// #endregion ab\n":          false,
		"// #region ab\nx\n// #endregion ab\n":         false,
		"// #region a\nx\n# endregion a\n":             false,
		"x // #region a\n// #endregion a\n":            false,
	} {
		if got := hasRegion(text, "a"); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
