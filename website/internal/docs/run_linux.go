package docs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrIsolation says that the machine makes no namespaces for us.
var ErrIsolation = errors.New("pages run in network and PID namespaces of their own, which takes root, or user namespaces for everyone")

// Run runs all that a page shows, in order, as one shell in the empty folder dir/page. The shell is
// process 1 of a PID namespace, whose end the kernel makes that of all that the page has started, however
// the test ends; and its network is a loopback of its own, so that every page may have the same ports.
// The error has the page's line.
func Run(ctx context.Context, p *Page, dir string, env []string) error {
	s, err := newScript(p)
	if err != nil {
		return err
	}
	r := &run{page: p, script: s, home: filepath.Join(dir, "page"), state: filepath.Join(dir, "state")}
	for _, folder := range []string{r.home, r.state} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
	}
	// Its path is short, for nodes put sockets there, and a test's own folder is too long for those.
	tmp, err := os.MkdirTemp("", "docs-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	for name, text := range s.files {
		if err := os.WriteFile(filepath.Join(r.state, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(r.state, "page.bash"), []byte(s.text()), 0o600); err != nil {
		return err
	}
	if err := r.execute(ctx, append(env, "TMPDIR="+tmp)); err != nil {
		return err
	}
	return r.compare()
}

// run is one run of a page.
type run struct {
	page        *Page
	script      *script
	home, state string
}

// begin is what process 1 does before the page: its own /proc where it may have one, for what looks
// for processes, and loopback.
const begin = `
mount -t proc proc /proc 2>/dev/null || :
PATH="$PATH:/usr/sbin:/sbin" ip link set lo up
__state=$1 __page=$2
cd "$__page"
. "$__state/prelude.bash"
set -eu --
. "$__state/page.bash"
`

// isolated are the namespaces of a page. A mount namespace is there for /proc.
func isolated() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig: syscall.SIGKILL,
	}
	if uid := os.Getuid(); uid != 0 {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return a
}

func (r *run) execute(ctx context.Context, env []string) error {
	out, err := os.Create(filepath.Join(r.state, outputFile(0)))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.CommandContext(ctx, "bash", "-c", begin, "bash", r.state, r.home)
	cmd.Env = env
	cmd.Dir = r.home
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = isolated()
	switch err := cmd.Start(); {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOSPC): // the latter: as many as there may be
		return errors.Join(ErrIsolation, err)
	case err != nil:
		return err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = fmt.Errorf("stopped, it took too long: %w", ctx.Err())
	}
	if err != nil {
		return r.failed(err)
	}
	return nil
}

// failed says where the page has come to, and what was printed there.
func (r *run) failed(cause error) error {
	line, _ := strconv.Atoi(strings.TrimSpace(r.read("line")))
	var said strings.Builder
	at := 0 // the newest of what is executed, up to that line
	for _, b := range r.page.Blocks() {
		if b.Is("sh") && b.Line <= line {
			at = b.Line
		}
	}
	fmt.Fprintf(&said, "%s%s", r.read(outputFile(at)), r.read(lastFile(at)))
	terminals, _ := filepath.Glob(filepath.Join(r.state, terminalFile("*")))
	for _, path := range terminals {
		name := filepath.Base(path)
		fmt.Fprintf(&said, "\n--- the end of %s:\n%s", name, tail(r.read(name), 3000))
	}
	return fmt.Errorf("%s:%d: %w\n%s", r.page.Path, line, cause, said.String())
}

// compare holds what was printed against what the page shows of it.
func (r *run) compare() error {
	var problems []error
	for name, shown := range r.script.outputs {
		if got := r.read(name); !matches(shown.Text, got) {
			problems = append(problems, fmt.Errorf("%s:%d: the page shows\n%s\nand what is printed is\n%s", r.page.Path, shown.Line, shown.Text, got))
		}
	}
	return errors.Join(problems...)
}

// read is a file's text; a file that isn't there has none.
func (r *run) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(r.state, name))
	return string(text)
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
