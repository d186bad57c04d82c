package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocumentedBlocksParse loads every ```hcl block of every page in the
// repository, so that no reader copies a configuration that is refused.
func TestDocumentedBlocksParse(t *testing.T) {
	const root = "../.."
	found := map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".md" && filepath.Ext(name) != ".mdx" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line, block := range hclBlocks(string(text)) {
			found[filepath.Base(path)]++
			if _, err := loadText(fmt.Sprintf("%s after line %d", path, line), block, LoadOptions{Dev: true}); err != nil {
				t.Errorf("%v", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["README.md"] == 0 {
		t.Error("README.md shows no configuration")
	}
}

// hclBlocks is the text of each fenced hcl block by the line of its fence.
func hclBlocks(page string) map[int]string {
	blocks := map[int]string{}
	start := 0
	for i, line := range strings.Split(page, "\n") {
		fence := strings.TrimSpace(line)
		switch {
		case start == 0 && fence == "```hcl":
			start = i + 1
			blocks[start] = ""
		case start != 0 && fence == "```":
			start = 0
		case start != 0:
			blocks[start] += line + "\n"
		}
	}
	return blocks
}
