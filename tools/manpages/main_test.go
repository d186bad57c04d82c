package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/command"
)

// writtenPages writes all pages and returns their files.
func writtenPages(t *testing.T) []string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "man1")
	if err := write(dir, "1.2.3", "2020-01-02T23:04:05Z"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	return files
}

// TestPagesAreRight asks those who read them for others.
func TestPagesAreRight(t *testing.T) {
	checkers := map[string][]string{
		"mandoc": {"-T", "lint", "-W", "warning"},
		"groff":  {"-man", "-ww", "-z", "-T", "utf8"},
	}
	found := false
	for name, args := range checkers {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		found = true
		for _, page := range writtenPages(t) {
			if out, err := exec.CommandContext(t.Context(), path, append(args, page)...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
	}
	if !found {
		t.Skip("there is neither mandoc nor groff here")
	}
}

// TestEverythingIsOnAPage: each command, and each of its flags, where a reader looks for it.
func TestEverythingIsOnAPage(t *testing.T) {
	all := pages(command.Reference(), "1.2.3", "2020-01-02")
	b := &book{byName: map[string]command.CommandDoc{}}
	for _, d := range command.Reference() {
		b.byName[d.Name] = d
	}
	for _, d := range command.Reference() {
		page, ok := all[pageName(b.home(d))]
		if !ok {
			t.Errorf("%q has no page", d.Name)
		}
		for _, f := range d.Flags {
			if !strings.Contains(page, `\fB`+escape(flagTerm(f))+`\fR`) {
				t.Errorf("%q: %s isn't on its page", d.Name, flagTerm(f))
			}
		}
		if !strings.Contains(all[command.Name], escape(pageName(b.home(d)))) {
			t.Errorf("%s doesn't lead to %q", command.Name, d.Name)
		}
	}
	for _, want := range []string{`"2020-01-02" "UnisonDB 1.2.3"`, `UNISONDB_ADDR`, `"SEE ALSO"`, `\-address=URL`} {
		if !strings.Contains(all[command.Name], want) {
			t.Errorf("the program's page lacks %s", want)
		}
	}
}

// TestDateIsLeftOut where a build doesn't know it.
func TestDateIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir, "", "unknown"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "unisondb.1"))
	if err != nil || !strings.Contains(string(page), `.TH "UNISONDB" "1" "" "UnisonDB" "UnisonDB"`) {
		t.Errorf("%v: %.200s", err, page)
	}
}

func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		"plain":            "plain\n",
		".starts like one": "\\&.starts like one\n",
		"'quoted'":         "\\(aqquoted\\(aq\n",
		`a\b -x …`:         "a\\eb \\-x \\[u2026]\n",
		"`get` fails":      "\\fBget\\fR fails\n",
		"one ` alone":      "one \\(ga alone\n",
		"a\n\nb":           "a\n.PP\nb\n",
		strings.Repeat("word ", 20) + ".end": strings.TrimSpace(strings.Repeat("word ", 15)) + "\n" +
			strings.TrimSpace(strings.Repeat("word ", 5)) + " .end\n",
	} {
		r := &roff{}
		if r.text(text); r.String() != want {
			t.Errorf("%q: %q, want %q", text, r.String(), want)
		}
	}
}
