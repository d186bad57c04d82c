package command

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
)

var discardLog = log.New(io.Discard, "", 0)

// fakeNode stands for a node or a development group. Its steps tell the test
// where it is.
type fakeNode struct {
	start    func(context.Context) error
	shutdown func(context.Context) error
	summary  func() string
	reload   func() error
	failed   chan error
	steps    chan string
	running  sync.Once

	config  config.Config
	options server.Options
	dev     server.DevOptions
}

func newFakeNode() *fakeNode {
	done := func(context.Context) error { return nil }
	return &fakeNode{
		start: done, shutdown: done, failed: make(chan error, 1), steps: make(chan string, 10),
		summary: func() string { return "hub fake: 1 namespace." }, reload: func() error { return nil },
	}
}

func (f *fakeNode) Start(ctx context.Context) error {
	f.steps <- "start"
	return f.start(ctx)
}

// Failed is asked for when the command begins to wait.
func (f *fakeNode) Failed() <-chan error {
	f.running.Do(func() { f.steps <- "running" })
	return f.failed
}

// Reload doesn't change anything. It tells of itself as a node does.
func (f *fakeNode) Reload(context.Context) ([]string, error) {
	reloading := f.options.Reloading
	if f.dev.Reloading != nil {
		reloading = f.dev.Reloading
	}
	ended := reloading()
	f.steps <- "reload"
	err := f.reload()
	ended(err)
	return nil, err
}

// Summary is asked for by a service manager's part alone.
func (f *fakeNode) Summary() string { return f.summary() }

func (f *fakeNode) Shutdown(ctx context.Context) error {
	f.steps <- "shutdown"
	return f.shutdown(ctx)
}

func (f *fakeNode) addresses() (server.Addresses, []server.Addresses) {
	return server.Addresses{HTTP: "127.0.0.1:4000", GRPC: "127.0.0.1:4001"},
		[]server.Addresses{{HTTP: "127.0.0.1:4010", GRPC: "127.0.0.1:4011"}}[:f.dev.Relayers]
}

func (f *fakeNode) dir() string { return "/tmp/dev" }

// step waits for what the node says next.
func (f *fakeNode) step(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-f.steps:
		if got != want {
			t.Fatalf("the node is at %q, want %q", got, want)
		}
	case <-t.Context().Done():
		t.Fatalf("the node never got to %q", want)
	}
}

// running is a node command that runs while the test goes on.
type running struct {
	node    *fakeNode
	signals chan os.Signal
	ended   chan result
	stderr  *lockedBuffer
}

// runNodeCommand runs server or relayer with a fake node.
func runNodeCommand(t *testing.T, node *fakeNode, args ...string) *running {
	t.Helper()
	return runNodeCommandIn(t, nil, node, args...)
}

// runNodeCommandIn runs it with more in its environment.
func runNodeCommandIn(t *testing.T, env map[string]string, node *fakeNode, args ...string) *running {
	t.Helper()
	defer func(w io.Writer, flags int) {
		t.Cleanup(func() { log.SetOutput(w); log.SetFlags(flags) })
	}(log.Writer(), log.Flags())
	r := &running{node: node, signals: make(chan os.Signal), ended: make(chan result, 1), stderr: &lockedBuffer{}}
	h := newHarness(t, success)
	maps.Copy(h.env, env)
	var stdout lockedBuffer
	m := newMeta(h.process(&stdout, r.stderr))
	m.notify = func(...os.Signal) (<-chan os.Signal, func()) { return r.signals, func() {} }
	m.newNode = func(c config.Config, o server.Options) (lifecycle, error) {
		node.config, node.options = c, o
		return node, nil
	}
	m.newDev = func(o server.DevOptions) (devGroup, error) {
		node.dev = o
		return node, nil
	}
	go func() {
		status := m.dispatch(args)
		r.ended <- result{status, stdout.String(), r.stderr.String()}
	}()
	return r
}

func (r *running) signal(t *testing.T, s os.Signal) {
	t.Helper()
	select {
	case r.signals <- s:
	case <-t.Context().Done():
		t.Fatalf("nobody listens for %v", s)
	}
}

func (r *running) wait(t *testing.T) result {
	t.Helper()
	select {
	case got := <-r.ended:
		return got
	case <-t.Context().Done():
		t.Fatal("the command never ended")
		return result{}
	}
}

var devArgs = []string{"server", "-dev"}

func TestNodeStopsAtASignal(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		node := newFakeNode()
		r := runNodeCommand(t, node, devArgs...)
		node.step(t, "start")
		node.step(t, "running")
		r.signal(t, s)
		node.step(t, "shutdown")
		if got := r.wait(t); got.status != exitDone || !strings.Contains(got.stderr, "stopped") {
			t.Errorf("%v: status %d, log %s", s, got.status, got.stderr)
		}
	}
}

func TestSIGHUPReloads(t *testing.T) {
	node := newFakeNode()
	r := runNodeCommand(t, node, devArgs...)
	node.step(t, "start")
	node.step(t, "running")
	for range 2 {
		r.signal(t, syscall.SIGHUP)
		node.step(t, "reload")
	}
	r.signal(t, os.Interrupt)
	node.step(t, "shutdown")
	if got := r.wait(t); got.status != exitDone {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

// TestSIGHUPWhileStarting is heard when the node runs: its files may have changed behind
// its back.
func TestSIGHUPWhileStarting(t *testing.T) {
	node := newFakeNode()
	begun, release := make(chan struct{}), make(chan struct{})
	node.start = func(context.Context) error { close(begun); <-release; return nil }
	r := runNodeCommand(t, node, devArgs...)
	node.step(t, "start")
	<-begun
	r.signal(t, syscall.SIGHUP)
	close(release)
	for range 2 { // in either order
		switch step := <-node.steps; step {
		case "reload", "running":
		default:
			t.Errorf("the node is at %q, want it to reload", step)
		}
	}
	r.signal(t, os.Interrupt)
	node.step(t, "shutdown")
	if got := r.wait(t); got.status != exitDone {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	node := newFakeNode()
	release := make(chan struct{})
	node.shutdown = func(context.Context) error { <-release; return nil }
	r := runNodeCommand(t, node, devArgs...)
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, syscall.SIGTERM)
	node.step(t, "shutdown")
	r.signal(t, syscall.SIGHUP) // doesn't count
	r.signal(t, syscall.SIGTERM)
	got := r.wait(t)
	close(release)
	if got.status != exitFailed || !strings.Contains(got.stderr, "stopped at once by a second signal") {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

func TestNodeThatDoesNotStart(t *testing.T) {
	node := newFakeNode()
	node.start = func(context.Context) error { return errors.New("127.0.0.1:4000 is in use") }
	got := runNodeCommand(t, node, devArgs...).wait(t)
	if got.status != exitFailed || got.stdout != "" || !strings.Contains(got.stderr, "Error: 127.0.0.1:4000 is in use") {
		t.Errorf("status %d, stdout %s, log %s", got.status, got.stdout, got.stderr)
	}
}

func TestSignalWhileStarting(t *testing.T) {
	node := newFakeNode()
	node.start = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	r := runNodeCommand(t, node, devArgs...)
	node.step(t, "start")
	r.signal(t, syscall.SIGHUP)
	r.signal(t, os.Interrupt)
	if got := r.wait(t); got.status != exitFailed || !strings.Contains(got.stderr, "stopped before it had started") {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

// TestSignalAsTheStartEnds: a node that came up all the same is stopped again.
func TestSignalAsTheStartEnds(t *testing.T) {
	node := newFakeNode()
	node.start = func(ctx context.Context) error { <-ctx.Done(); return nil }
	r := runNodeCommand(t, node, devArgs...)
	node.step(t, "start")
	r.signal(t, os.Interrupt)
	node.step(t, "shutdown")
	if got := r.wait(t); got.status != exitFailed {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

func TestTwoSignalsWhileStarting(t *testing.T) {
	node := newFakeNode()
	release := make(chan struct{})
	node.start = func(context.Context) error { <-release; return nil }
	r := runNodeCommand(t, node, devArgs...)
	node.step(t, "start")
	r.signal(t, os.Interrupt)
	r.signal(t, os.Interrupt)
	got := r.wait(t)
	close(release)
	if got.status != exitFailed || !strings.Contains(got.stderr, "second signal") {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

func TestNodeThatFails(t *testing.T) {
	node := newFakeNode()
	node.shutdown = func(context.Context) error { return errors.New("and could not stop") }
	r := runNodeCommand(t, node, devArgs...)
	node.step(t, "start")
	node.step(t, "running")
	node.failed <- errors.New("the listener broke")
	node.step(t, "shutdown")
	if got := r.wait(t); got.status != exitFailed || !strings.Contains(got.stderr, "the listener broke\nand could not stop") {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

func TestLogFormats(t *testing.T) {
	defer func(w io.Writer, flags int) { log.SetOutput(w); log.SetFlags(flags) }(log.Writer(), log.Flags())
	var out lockedBuffer
	h := newHarness(t, success)
	m := newMeta(h.process(io.Discard, &out))
	l := m.logger(config.Log{Level: "warn", Format: "json"})
	l.Info("quiet")
	l.Warn("loud", "key", "value")
	log.Print("[ERROR] from a library")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"key":"value"`) || !strings.Contains(lines[1], `"@module":"unisondb.stdlib"`) {
		t.Errorf("got %s", out.String())
	}
}
