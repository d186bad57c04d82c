package website

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/website/internal/docs"
)

// patience is for what a page runs, all of it, on a machine that has much else to do.
const patience = 4 * time.Minute

// runElsewhere are pages that take more than this test has; what runs them is named.
var runElsewhere = map[string]string{"get-started/index": "TestGetStarted"}

// TestBlocks holds every block of every page against what it says: shell is run and its output compared,
// configurations are loaded, quotations looked up. CONTRIBUTING.md has the rules.
func TestBlocks(t *testing.T) {
	checker, err := docs.NewChecker("..")
	if err != nil {
		t.Fatal(err)
	}
	downloadExamples(t)
	for name, path := range pages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := docs.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range checker.Check(page) {
				t.Error(problem)
			}
			if t.Failed() || !page.Runs() || runElsewhere[name] != "" {
				return
			}
			runPage(t, page, pageEnvironment(t))
		})
	}
}

// TestPagesAreTitled: each page of the site says in front what it is called and what it is about, for the
// search and for links to it, and has one heading of the first level.
func TestPagesAreTitled(t *testing.T) {
	heading := regexp.MustCompile(`(?m)^# `)
	code := regexp.MustCompile("(?s)\n```.*?\n```")
	for name, path := range pages(t) {
		if strings.HasSuffix(name, ".md") || name == "DESIGN" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		front, body, ok := strings.Cut(strings.TrimPrefix(string(text), "---\n"), "\n---\n")
		for _, key := range []string{"title: ", "description: "} {
			if !ok || !strings.Contains("\n"+front, "\n"+key) {
				t.Errorf("%s:1: there is no %q between lines of --- at its beginning", path, key)
			}
		}
		if n := len(heading.FindAllString(code.ReplaceAllString(body, ""), -1)); n != 1 {
			t.Errorf("%s has %d headings of the first level", path, n)
		}
	}
}

// runPage runs what a page shows.
func runPage(t *testing.T, page *docs.Page, env []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begun := time.Now()
	err := docs.Run(ctx, page, t.TempDir(), env)
	if errors.Is(err, docs.ErrIsolation) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("run in %v", time.Since(begun).Round(time.Millisecond))
}

// pages are the pages whose blocks have rules, by name: those of the site as their URLs have them,
// the others with their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if name, ok := strings.CutSuffix(filepath.ToSlash(path), ".md"); ok {
			found[name] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pagesElsewhere(t) {
		found[strings.TrimPrefix(path, "../")] = path
	}
	return found
}

// pagesElsewhere are those that aren't of the site.
func pagesElsewhere(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md", "../examples/*/README.md"} {
		matches, err := filepath.Glob(pattern)
		if err != nil || len(matches) == 0 {
			t.Fatalf("there is no %s: %v", pattern, err)
		}
		paths = append(paths, matches...)
	}
	return paths
}

// TestLinksOfTheRepository: pages that aren't of the site link to files that are there.
func TestLinksOfTheRepository(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	for _, path := range pagesElsewhere(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}

// pageEnvironment is what the shell of a page has: nothing of the tester's own but Go's caches, and no network to
// fetch anything by.
func pageEnvironment(t *testing.T) []string {
	t.Helper()
	programs := buildPrograms(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"PATH=" + programs + ":" + goFolder(t) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"UNISONDB_PLUGINS=" + filepath.Join(programs, "plugins"),
		"REPOSITORY=" + root,
		"HOME=" + t.TempDir(),
		"LANG=C.UTF-8",
		"GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE"), "GOPATH=" + goEnv(t, "GOPATH"),
		"GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false",
	}
}

// downloadExamples has Go fetch what the examples are built from: pages build some, and have no network.
func downloadExamples(t *testing.T) {
	t.Helper()
	modules, err := filepath.Glob("../examples/*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range modules {
		downloadModules(t, filepath.Dir(path), "./...")
	}
}

// downloadModules has Go fetch what packages are built from.
func downloadModules(t *testing.T, module string, packages ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps"}, packages...)...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// goFolder is where the go that runs the test is.
func goFolder(t *testing.T) string { return filepath.Join(goEnv(t, "GOROOT"), "bin") }

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
