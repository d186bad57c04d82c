package website

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// leastPages is how many pages the site is promised to have, and more.
const leastPages = 30

// site is the built site, which all tests share.
var site struct {
	once sync.Once
	dir  string
	err  error
}

// builtSite builds the site once for all tests and returns its folder.
func builtSite(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("Node.js isn't there: run make bootstrap")
	}
	site.once.Do(func() {
		site.dir, site.err = os.MkdirTemp("", "unisondb-site-")
		if site.err != nil {
			return
		}
		if _, site.err = os.Stat("node_modules/vitepress"); site.err != nil {
			site.err = fmt.Errorf("VitePress isn't installed: run make site-modules: %w", site.err)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "node", "build.mjs", site.dir).CombinedOutput(); err != nil {
			site.err = fmt.Errorf("building the site: %w\n%s", err, out)
		}
	})
	if site.err != nil {
		t.Fatal(site.err)
	}
	return site.dir
}

// document is one page as it was built.
type document struct {
	links []string // of <a>
	loads []string // what the browser fetches by itself
	ids   []string
	text  string
}

// documents are all built pages by their paths on the site, which begin with a slash.
func documents(t *testing.T) map[string]document {
	t.Helper()
	dir := builtSite(t)
	all := map[string]document{}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(file) != ".html" {
			return err
		}
		page, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		root, err := html.Parse(bytes.NewReader(page))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		all["/"+filepath.ToSlash(strings.TrimPrefix(file, dir+"/"))] = read(root)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// read collects what the tests want to know of a page.
func read(root *html.Node) document {
	var d document
	var text strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			text.WriteString(n.Data)
			continue
		}
		if n.Type != html.ElementNode {
			continue
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "id":
				d.ids = append(d.ids, a.Val)
			case a.Key == "href" && n.Data == "a":
				d.links = append(d.links, a.Val)
			case a.Key == "href" && n.Data == "link", a.Key == "src", a.Key == "srcset", a.Key == "poster", a.Key == "data":
				d.loads = append(d.loads, a.Val)
			}
		}
	}
	d.text = text.String()
	return d
}

// TestPagesAndSidebar: each page stands in the sidebar, and each line of the sidebar is a page.
func TestPagesAndSidebar(t *testing.T) {
	raw, err := os.ReadFile(".vitepress/sidebar.mts")
	if err != nil {
		t.Fatal(err)
	}
	list, _, ok := strings.Cut(string(raw), "export const nav")
	if !ok {
		t.Fatal("sidebar.mts has no nav behind its sidebar")
	}
	var listed []string
	for _, m := range regexp.MustCompile(`link: '([^']+)'`).FindAllStringSubmatch(list, -1) {
		link := m[1]
		if strings.HasSuffix(link, "/") {
			link += "index"
		}
		if slices.Contains(listed, link) {
			t.Errorf("the sidebar has %s twice", link)
		}
		listed = append(listed, link)
	}
	var built []string
	for name := range documents(t) {
		if name != "/404.html" && name != "/index.html" {
			built = append(built, strings.TrimSuffix(name, ".html"))
		}
	}
	if len(built) <= leastPages {
		t.Errorf("the site has %d pages, want more than %d", len(built), leastPages)
	}
	for _, name := range built {
		if !slices.Contains(listed, name) {
			t.Errorf("%s.md isn't in the sidebar: add it to .vitepress/sidebar.mts", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(built, name) {
			t.Errorf("the sidebar names %s, and there is no such page: write it, or take the line out", name)
		}
	}
}

// TestLinks: each link and anchor of the built site leads somewhere. Links to other hosts are addresses in form.
func TestLinks(t *testing.T) {
	dir, all := builtSite(t), documents(t)
	for name, d := range all {
		for _, link := range d.links {
			if problem := linkProblem(dir, all, name, link); problem != "" {
				t.Errorf("%s links to %s: %s", name, link, problem)
			}
		}
	}
}

// linkProblem says what is wrong with a link of a page, or is empty.
func linkProblem(dir string, all map[string]document, from, link string) string {
	u, err := url.Parse(link)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme == "https" || u.Scheme == "http":
		if u.Host == "" {
			return "it has no host"
		}
		return ""
	case u.Scheme != "" || u.Host != "":
		return "neither a page nor https"
	}
	target := u.Path
	switch {
	case target == "":
		target = from
	case !strings.HasPrefix(target, "/"):
		target = path.Join(path.Dir(from), target)
	}
	if strings.HasSuffix(u.Path, "/") {
		target = path.Join(target, "index.html")
	}
	d, ok := all[target]
	if !ok {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(target))); err != nil {
			return "there is no such page or file"
		}
	}
	if u.Fragment != "" && !slices.Contains(d.ids, u.Fragment) {
		return fmt.Sprintf("%s has no anchor %q", target, u.Fragment)
	}
	return ""
}

// TestLinkProblems shows that the check of links can fail.
func TestLinkProblems(t *testing.T) {
	all := map[string]document{"/a/x.html": {ids: []string{"here"}}, "/a/index.html": {}}
	for link, good := range map[string]bool{
		"/a/x.html": true, "x.html#here": true, "#here": true, "/a/": true, "https://example.com/x": true,
		"y.html": false, "/x.html": false, "#there": false, "x.html#there": false, "https:///x": false, "ftp://a/b": false, "%": false,
	} {
		if problem := linkProblem(t.TempDir(), all, "/a/x.html", link); (problem == "") != good {
			t.Errorf("%s: %q, want good %v", link, problem, good)
		}
	}
}

// TestNothingFromElsewhere: pages and styles load nothing from another host. What scripts fetch, the browser's test sees.
func TestNothingFromElsewhere(t *testing.T) {
	for name, d := range documents(t) {
		for _, load := range d.loads {
			if u, err := url.Parse(load); err != nil || u.Host != "" || (u.Scheme != "" && u.Scheme != "data") {
				t.Errorf("%s loads %s: the site takes nothing from other hosts", name, load)
			}
		}
	}
	styles, err := filepath.Glob(filepath.Join(builtSite(t), "assets", "*.css"))
	if err != nil || len(styles) == 0 {
		t.Fatalf("the site has no style sheet: %v", err)
	}
	foreign := regexp.MustCompile(`(url\(|@import)\s*["']?(https?:)?//[^)\s]*`)
	for _, file := range styles {
		css, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if m := foreign.Find(css); m != nil {
			t.Errorf("%s loads %s: the site takes nothing from other hosts", file, m)
		}
	}
}

// TestPagesAreWhole: what VitePress leaves on a page where a file can't be included, and ids that two elements have.
func TestPagesAreWhole(t *testing.T) {
	for name, d := range documents(t) {
		for _, mark := range []string{"Code snippet path not found", "@include:"} {
			if strings.Contains(d.text, mark) {
				t.Errorf("%s says %q: mend the path of what it includes", name, mark)
			}
		}
		seen := map[string]bool{}
		for _, id := range d.ids {
			if seen[id] {
				t.Errorf("%s has the id %q twice", name, id)
			}
			seen[id] = true
		}
	}
}

// TestSearchIndex: the index that the browser searches knows the words that people look for.
func TestSearchIndex(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(builtSite(t), "assets", "chunks", "@localSearchIndex*.js"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the site has %d search indexes (%v), want one", len(files), err)
	}
	index, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"relayer", "namespace", "memtable", "webhook", "zeromq", "snapshot", "retention", "lineage", "transaction"} {
		if !strings.Contains(strings.ToLower(string(index)), strings.ToLower(word)) {
			t.Errorf("the search doesn't know %q", word)
		}
	}
}
