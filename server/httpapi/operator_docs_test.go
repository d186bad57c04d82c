package httpapi_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// codeLine is the declaration of a code.
var codeLine = regexp.MustCompile(`(?m)^\s+Code\w+\s+= "([A-Z_]+)"`)

// codeOne is that of a single one.
var codeOne = regexp.MustCompile(`(?m)^const Code\w+ = "([A-Z_]+)"`)

// TestCodesOfTheGroupAreDocumented: programs decide by codes, so that each stands on the page of the
// operator API. Between hubs alone goes NOT_LEADER.
func TestCodesOfTheGroupAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../website/guides/operator-api.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../topology/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range append(codeLine.FindAllSubmatch(source, -1), codeOne.FindAllSubmatch(source, -1)...) {
			found++
			if code := string(m[1]); code != "NOT_LEADER" && !strings.Contains(string(page), "`"+code+"`") {
				t.Errorf("%s of %s isn't in website/guides/operator-api.md", code, filepath.Base(name))
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d codes were found: the test looks for them in the wrong way", found)
	}
}

// TestRoutesOfTheGroupAreDocumented: so does each route that isn't of one namespace, plugin or relayer.
func TestRoutesOfTheGroupAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../website/guides/operator-api.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("router.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s+"(/v1/(?:raft|topology|relayers|hubs|snapshot)[^"]*)":`).FindAllSubmatch(source, -1) {
		route := string(m[1])
		if route == "/v1/topology/unassign" { // it stands beside assign
			route = "/unassign"
		}
		if !strings.Contains(string(page), route) {
			t.Errorf("%s isn't in website/guides/operator-api.md", route)
		}
	}
}
