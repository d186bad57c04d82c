package sdktest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// guideSources are the files that the guides quote. All are compiled, and run, by
// tests: those of this module and of the examples.
var guideSources = []string{
	"../../examples/notifier-file/main.go",
	"../../examples/notifier-file/main_test.go",
	"../../examples/notifier-python/notifier-python",
	"../../examples/model-counter/main.go",
	"../../examples/model-counter/main_test.go",
	"../notifier/example_test.go",
	"../datamodel/example_test.go",
}

// block is a fenced block of a page.
type block struct {
	line           int
	language, text string
}

// TestGuides: what the guides show is what is compiled and tested elsewhere, to
// the letter; commands are at least valid shell. Blocks of HCL are parsed by a test of
// server/config.
func TestGuides(t *testing.T) {
	var sources []string
	for _, path := range guideSources {
		sources = append(sources, readFile(t, path))
	}
	for _, page := range []string{"write-a-notifier.md", "write-a-data-model.md"} {
		shown := map[string]int{}
		for _, b := range blocks(t, readFile(t, filepath.Join("../../website/guides", page))) {
			shown[b.language]++
			switch b.language {
			case "go", "python":
				if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, b.text) }) {
					t.Errorf("%s:%d: the block stands in none of %s", page, b.line, strings.Join(guideSources, ", "))
				}
			case "sh":
				shell := exec.Command("sh", "-n")
				shell.Stdin = strings.NewReader(b.text)
				if out, err := shell.CombinedOutput(); err != nil {
					t.Errorf("%s:%d: %v: %s", page, b.line, err, out)
				}
			case "json":
				if !json.Valid([]byte(b.text)) {
					t.Errorf("%s:%d: no JSON", page, b.line)
				}
			case "hcl":
			default:
				t.Errorf("%s:%d: a block of %q: no test looks at it", page, b.line, b.language)
			}
		}
		if shown["go"] < 5 || shown["hcl"] == 0 || shown["sh"] == 0 {
			t.Errorf("%s shows %v", page, shown)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func blocks(t *testing.T, page string) []block {
	t.Helper()
	var all []block
	open := false
	for i, line := range strings.SplitAfter(page, "\n") {
		switch fence, fenced := strings.CutPrefix(strings.TrimRight(line, "\n"), "```"); {
		case fenced && !open:
			all = append(all, block{line: i + 1, language: fence})
			open = true
		case fenced:
			open = false
		case open:
			all[len(all)-1].text += line
		}
	}
	if open {
		t.Error("the last block isn't closed")
	}
	return all
}
