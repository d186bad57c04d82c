package docs

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 2 * time.Minute

// run runs a page's text in a folder of its own.
func runText(t *testing.T, text string) (dir string, err error) {
	t.Helper()
	page, err := Parse("page.md", text)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = Run(ctx, page, dir, []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8"})
	if errors.Is(err, ErrIsolation) {
		t.Skip(err)
	}
	return dir, err
}

// TestRun: what a page shows works, or the error says where it doesn't.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, page string
		problems   []string // parts of the error; none: it works
	}{
		{name: "one shell for all blocks", page: "```sh\na=1\nmkdir b\ncd b\n```\n\ntext\n\n```sh\n[ $a = 1 ]\n[ \"$(basename \"$PWD\")\" = b ]\n```\n"},
		{name: "the first command that fails ends it", page: "a\n\n```sh\ntrue\nls gone\ntouch later\n```\n", problems: []string{"page.md:5:", "gone"}},
		{name: "an unset variable", page: "```sh\necho $gone\n```\n", problems: []string{"page.md:2:", "gone"}},
		{name: "output", page: "```sh\necho first\necho hello; echo you >&2\n```\n\n```text\nhello\ny…u\n```\n"},
		{name: "another output", page: "```sh\necho first\necho hello\n```\n```text\nhullo\n```\n", problems: []string{"page.md:5:", "hullo", "hello"}},
		{name: "output of all commands", page: "```sh\necho first\necho hello\n```\n```text\nfirst\nhello\n```\n", problems: []string{"page.md:5:"}},
		{name: "JSON", page: "```sh\necho '{\"a\":1}'\n```\n```json\n{\"a\":2}\n```\n", problems: []string{"page.md:4:"}},
		{name: "text elsewhere", page: "```sh\necho hello\n```\nis as\n```text\nwhat you like\n```\n"},
		{name: "sh validate isn't run", page: "```sh validate\nfalse\n```\n"},
		{name: "a file", page: "```hcl [a.hcl]\nnode_id = \"a\"\n```\n```sh\ngrep node_id a.hcl\n```\n"},
		{name: "a file is written where it stands", page: "```sh\ngrep node_id a.hcl\n```\n```hcl [a.hcl]\nnode_id = \"a\"\n```\n", problems: []string{"page.md:2:"}},
		{name: "a terminal", page: "```sh terminal\necho \"it's $((1 + 1))\" > said\nsleep 1000\n```\n<!-- until: grep -q 2 said -->\n<!-- interrupt: terminal -->\n```sh\ncat said\n```\n```text\nit's 2\n```\n"},
		{name: "what a terminal printed", page: "```sh terminal t\necho on; touch there\n```\n```text\noff\n```\n<!-- until: [ -e there ] -->\n", problems: []string{"page.md:4:", "off", "on"}},
		{name: "a terminal whose output was shown", page: "```sh terminal t\ntrue\n```\n```text\n```\n```sh terminal t\ntrue\n```\n", problems: []string{"page.md:6:", "line 4"}},
		{name: "a terminal is busy", page: "```sh terminal t\nsleep 1000\n```\n```sh terminal t\nsleep 1000\n```\n", problems: []string{"page.md:4:", "busy"}},
		{name: "a terminal is used again", page: "```sh terminal t\nsleep 1000\n```\n<!-- kill: t -->\n```sh terminal t\nsleep 1000\n```\n"},
		{name: "what has ended isn't interrupted", page: "<!-- run: touch done -->\n<!-- until: [ -e done ] && ! kill -0 \"$(cat \"$__state/pid.run1\")\" -->\n\n<!-- interrupt: run1 -->\n", problems: []string{"page.md:4:"}},
		{name: "a node that ends instead of serving", page: "<!-- run: echo unisondb server; exit 3 -->\n", problems: []string{"page.md:1:", "ended instead of serving"}},
		{name: "an invisible command", page: "<!-- do: a=1 -->\n```sh\n[ $a = 1 ]\n```\n"},
		{name: "a folder for temporary files", page: "```sh\ntouch \"$TMPDIR/a\"\n```\n"},
		{name: "nothing of the tester's environment", page: "```sh\n[ -z \"${UNISONDB_DOCS_TEST-}\" ]\n```\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := runText(t, tt.page)
			if len(tt.problems) == 0 && err != nil {
				t.Error(err)
			}
			for _, part := range tt.problems {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v, expected one with %q", err, part)
				}
			}
		})
	}
}

// TestRunLeavesNothing: what a page has started is gone when Run returns, be it that the page came to its
// end or that it was stopped.
func TestRunLeavesNothing(t *testing.T) {
	t.Parallel()
	page := "<!-- run: flock lock sleep 1000 -->\n<!-- until: ! flock -n lock true -->\n```sh\nsetsid sleep 1000 &\n```\n"
	for name, text := range map[string]string{"at the end": page, "when it fails": page + "```sh\nfalse\n```\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := runText(t, text)
			if (err != nil) != strings.Contains(text, "false") {
				t.Fatal(err)
			}
			lock, err := os.Open(filepath.Join(dir, "page", "lock"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = lock.Close() }()
			if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
				t.Errorf("something still runs: %v", err)
			}
		})
	}
}

// TestRunTooLong: a page that doesn't end is stopped, and the error says where it was.
func TestRunTooLong(t *testing.T) {
	t.Parallel()
	page, err := Parse("page.md", "```sh\ntouch begun\nsleep 1000\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		awaitFile(t, filepath.Join(dir, "page", "begun"))
	}()
	err = Run(ctx, page, dir, []string{"PATH=/usr/bin:/bin"})
	if errors.Is(err, ErrIsolation) {
		t.Skip(err)
	}
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "page.md:") {
		t.Errorf("error %v", err)
	}
}

func awaitFile(t *testing.T, path string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range int(patience / (10 * time.Millisecond)) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done(): // the test is over, skipped perhaps
			return
		}
	}
	t.Errorf("there is no %s", path)
}

// TestRunNetwork: pages have a loopback of their own, and none of this machine's addresses.
func TestRunNetwork(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, err = runText(t, "```sh\nif (exec 3<>/dev/tcp/127.0.0.1/"+port+"); then false; fi\nip link show lo | grep -q UP\n```\n")
	if err != nil {
		t.Error(err)
	}
}
