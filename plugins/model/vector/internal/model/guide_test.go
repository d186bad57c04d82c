package model

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// guide is what users read, from this package's folder.
const guide = "../../../../../website/guides/vector.md"

// TestGuide makes the requests of the guide, and gets the answers that it shows.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```sh\ncurl -X POST \\S*/model/vector/(\\w+) -d '(.*?)'\n```\n\n```json\n(.*?)\n```")
	examples := example.FindAllStringSubmatch(string(text), -1)
	if len(examples) < 2 || len(examples) != strings.Count(string(text), "curl") {
		t.Fatalf("%d examples were found of %d", len(examples), strings.Count(string(text), "curl"))
	}
	n := newFakeNode()
	m := modelOn(t, n, "64MiB")
	for _, e := range examples {
		if got := n.must(t, m, "embeddings", e[1], []byte(e[2])); got != e[3] {
			t.Errorf("%s answers %s, the guide says %s", e[1], got, e[3])
		}
	}
}
