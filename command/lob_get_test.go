package command

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const helloSum = "907060870"

var hello = answerBytes(http.StatusOK, "hello", "X-Unisondb-Checksum", helloSum)

func TestLobGet(t *testing.T) {
	h := newHarness(t, hello)
	h.run("lob", "get", "o/1").want(t, exitDone, "hello")
	h.last().want(t, "GET", "/api/v1/default/lob/o%2F1")
}

func TestLobGetRange(t *testing.T) {
	h := newHarness(t, answerBytes(http.StatusPartialContent, "ell", "Content-Range", "bytes 1-3/5"))
	h.run("lob", "get", "-offset=1", "-length=3", "o").want(t, exitDone, "ell")
	if got := h.last().header.Get("Range"); got != "bytes=1-3" {
		t.Errorf("Range: %q", got)
	}
	for _, bad := range []string{"-offset=-1", "-length=0", "-length=-2"} {
		h.run("lob", "get", bad, "o").want(t, exitUsage, "", "-offset must not be negative")
	}
}

func TestLobGetAbsent(t *testing.T) {
	h := newHarness(t, noObject)
	out := filepath.Join(t.TempDir(), "out")
	h.run("lob", "get", "o").want(t, exitFailed, "", `there is no object "o"`)
	h.run("lob", "get", "-out="+out, "o").want(t, exitFailed, "", `there is no object "o"`)
	noFiles(t, filepath.Dir(out))
}

func TestLobGetOut(t *testing.T) {
	h := newHarness(t, hello)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	h.run("lob", "get", "o", "-out", out).want(t, exitDone, "")
	sameFile(t, out, "hello")

	// A file that is there is replaced, with its mode, behind a link, too.
	old, link := filepath.Join(dir, "old"), filepath.Join(dir, "link")
	if err := os.WriteFile(old, []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("old", link); err != nil {
		t.Fatal(err)
	}
	h.run("lob", "get", "o", "-out", link).want(t, exitDone, "")
	sameFile(t, old, "hello")
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if info, err := os.Stat(old); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode has changed: %v, %v", info, err)
	}

	h.run("lob", "get", "o", "-out=/dev/null").want(t, exitDone, "")
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null is no device any more: %v, %v", info, err)
	}
	h.run("lob", "get", "o", "-out", dir).want(t, exitFailed, "", "is a directory: name a file in it")
	h.run("lob", "get", "o", "-out=/does/not/exist").want(t, exitFailed, "", "write /does/not/exist: no such file or directory")
}

// TestLobGetOutIsAllOrNothing: what there was stays where the object doesn't
// arrive as it is, and nothing half written is left.
func TestLobGetOutIsAllOrNothing(t *testing.T) {
	changed := answerBytes(http.StatusOK, "hallo", "X-Unisondb-Checksum", helloSum)
	short := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{"changed": {changed, "checksum mismatch"}, "short": {short, "unexpected EOF"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			if err := os.WriteFile(out, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			h := newHarness(t, tt.answer)
			h.run("lob", "get", "o", "-out", out).want(t, exitFailed, "", tt.want)
			sameFile(t, out, "before")
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func TestLobGetInterrupted(t *testing.T) {
	signals := make(chan os.Signal, 1)
	h := newHarness(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		signals <- syscall.SIGINT
		<-r.Context().Done()
	})
	dir := t.TempDir()
	got := h.runWith(func(m *Meta) {
		m.notify = func(...os.Signal) (<-chan os.Signal, func()) { return signals, func() {} }
	}, "lob", "get", "o", "-out", filepath.Join(dir, "out"))
	got.want(t, exitFailed, "", "interrupted")
	noFiles(t, dir)
}

func TestLobGetProgress(t *testing.T) {
	h := newHarness(t, hello)
	h.width = 60
	got := h.run("lob", "get", "o")
	got.want(t, exitDone, "hello", "100% of        5 B")
	for line := range strings.SplitSeq(got.stderr, "\r") {
		if len(strings.TrimRight(line, "\n")) > 59 {
			t.Errorf("a line would wrap: %q", line)
		}
	}
}

func sameFile(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
	}
}

func noFiles(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
