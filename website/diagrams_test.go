package website

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	diagramStart = regexp.MustCompile(`^<svg [^>]*viewBox="0 0 (\d+) \d+"[^>]*>`)
	diagramID    = regexp.MustCompile(`\sid="([^"]*)"`)
	diagramColor = regexp.MustCompile(`(?:fill|stroke|stop-color|color)="([^"]*)"`)
)

// TestDiagrams holds the diagrams against the rules of DESIGN.md, by which they show in both themes and on a phone.
func TestDiagrams(t *testing.T) {
	files, err := filepath.Glob("diagrams/*.svg")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no diagrams: %v", err)
	}
	for _, file := range files {
		svg, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range diagramProblems(strings.TrimSuffix(filepath.Base(file), ".svg"), string(svg)) {
			t.Errorf("%s %s", file, problem)
		}
	}
}

// diagramProblems says what is wrong with a diagram.
func diagramProblems(name, svg string) (problems []string) {
	if start := diagramStart.FindStringSubmatch(svg); start == nil {
		problems = append(problems, `doesn't begin with <svg … viewBox="0 0 WIDTH HEIGHT" …>`)
	} else if width, err := strconv.Atoi(start[1]); err != nil || width > 720 {
		problems = append(problems, "is wider than 720")
	}
	if !strings.Contains(svg, `role="img"`) || !strings.Contains(svg, "<title ") {
		problems = append(problems, `has no role="img" with a <title id="…">`)
	}
	for _, element := range []string{"<style", "<script", "<image", "<foreignObject"} {
		if strings.Contains(svg, element) {
			problems = append(problems, "has "+element+">")
		}
	}
	for _, m := range diagramID.FindAllStringSubmatch(svg, -1) {
		if !strings.HasPrefix(m[1], name+"-") {
			problems = append(problems, "has the id "+m[1]+", which doesn't begin with "+name+"-")
		}
	}
	for _, m := range diagramColor.FindAllStringSubmatch(svg, -1) {
		switch c := m[1]; {
		case c == "none", c == "currentColor", c == "inherit", c == "transparent", strings.HasPrefix(c, "var(--vp-c-"), strings.HasPrefix(c, "url(#"):
		default:
			problems = append(problems, "has the colour "+c+", which doesn't follow the theme")
		}
	}
	return problems
}

// TestDiagramProblems shows that the rules can fail.
func TestDiagramProblems(t *testing.T) {
	good := `<svg viewBox="0 0 680 200" role="img" aria-labelledby="x-title"><title id="x-title">X</title><path fill="none" stroke="var(--vp-c-brand-1)"/></svg>`
	if problems := diagramProblems("x", good); len(problems) > 0 {
		t.Errorf("a good diagram: %q", problems)
	}
	for old, bad := range map[string]string{
		"680": "1200", "x-title": "title", "none": "#fff", `role="img"`: "", "<path": "<style></style><path", "0 0 680": "10 0 680",
	} {
		if len(diagramProblems("x", strings.ReplaceAll(good, old, bad))) == 0 {
			t.Errorf("with %q for %q nothing is found", bad, old)
		}
	}
}
