package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// fakeManager is a service manager that reads what it is told.
type fakeManager struct {
	socket string // as in the environment
	conn   *net.UnixConn
}

// newFakeManager listens on a socket in a directory, or on an abstract one.
func newFakeManager(t *testing.T, abstract bool) *fakeManager {
	t.Helper()
	dir, err := os.MkdirTemp("", "manager") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	if abstract {
		socket = "@" + socket
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &fakeManager{socket: socket, conn: conn}
}

// next is the next message, as a map and as it came.
func (m *fakeManager) next(t *testing.T) (map[string]string, string) {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	n, err := m.conn.Read(b)
	if err != nil {
		t.Fatalf("nothing more was said: %v", err)
	}
	message := map[string]string{}
	for line := range strings.Lines(string(b[:n])) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			t.Errorf("%q is no assignment", line)
		}
		message[name] = value
	}
	return message, string(b[:n])
}

// until returns the first message that has an assignment.
func (m *fakeManager) until(t *testing.T, assignment string) map[string]string {
	t.Helper()
	name, value, _ := strings.Cut(assignment, "=")
	for {
		if message, _ := m.next(t); message[name] == value {
			return message
		}
	}
}

func TestServiceManagerFollowsANode(t *testing.T) {
	for _, abstract := range []bool{false, true} {
		if abstract && runtime.GOOS != "linux" {
			continue
		}
		t.Run(fmt.Sprintf("abstract=%v", abstract), func(t *testing.T) {
			manager, node := newFakeManager(t, abstract), newFakeNode()
			begun, release := make(chan struct{}), make(chan struct{})
			node.start = func(context.Context) error { close(begun); <-release; return nil }
			r := runNodeCommandIn(t, map[string]string{envNotifySocket: manager.socket}, node, devArgs...)
			<-begun
			if m := manager.until(t, "EXTEND_TIMEOUT_USEC=30000000"); m["READY"] != "" {
				t.Error("a node that starts says that it is ready")
			}
			close(release)
			if m := manager.until(t, "READY=1"); m["STATUS"] != "hub fake: 1 namespace." {
				t.Errorf("it is ready with %v", m)
			}
			node.step(t, "start")
			node.step(t, "running")

			before := monotonic()
			r.signal(t, syscall.SIGHUP)
			node.step(t, "reload")
			m := manager.until(t, "RELOADING=1")
			if at, err := strconv.ParseInt(m["MONOTONIC_USEC"], 10, 64); err != nil || at < before.Microseconds() || at > monotonic().Microseconds() {
				t.Errorf("it reloads at %v, asked at %v", m, before)
			}
			if m := manager.until(t, "READY=1"); m["STATUS"] != "hub fake: 1 namespace." {
				t.Errorf("it has reloaded with %v", m)
			}

			r.signal(t, syscall.SIGTERM)
			node.step(t, "shutdown")
			if m := manager.until(t, "STOPPING=1"); m["EXTEND_TIMEOUT_USEC"] != "90000000" {
				t.Errorf("it stops with %v", m)
			}
			if got := r.wait(t); got.status != exitDone {
				t.Errorf("status %d, log %s", got.status, got.stderr)
			}
		})
	}
}

// TestRefusedReloadIsSaid, until one is accepted; a manager that waits for the end of a reload isn't
// left waiting.
func TestRefusedReloadIsSaid(t *testing.T) {
	manager, node := newFakeManager(t, false), newFakeNode()
	outcomes := make(chan error, 2)
	node.reload = func() error { return <-outcomes }
	r := runNodeCommandIn(t, map[string]string{envNotifySocket: manager.socket}, node, devArgs...)
	node.step(t, "start")
	node.step(t, "running")
	manager.until(t, "READY=1")
	outcomes <- errors.New("nothing was changed, because the configuration isn't valid:\n  here and there")
	r.signal(t, syscall.SIGHUP)
	node.step(t, "reload")
	manager.until(t, "RELOADING=1")
	want := "hub fake: 1 namespace. The last reload was refused: nothing was changed, because the configuration isn't valid."
	if m := manager.until(t, "READY=1"); m["STATUS"] != want {
		t.Errorf("it says %q, want %q", m["STATUS"], want)
	}
	outcomes <- nil
	r.signal(t, syscall.SIGHUP)
	node.step(t, "reload")
	if m := manager.until(t, "READY=1"); m["STATUS"] != "hub fake: 1 namespace." {
		t.Errorf("it says %q", m["STATUS"])
	}
	r.signal(t, syscall.SIGTERM)
	r.wait(t)
}

// TestSignsOfLife come while the node answers, and none while it hangs.
func TestSignsOfLife(t *testing.T) {
	manager, node := newFakeManager(t, false), newFakeNode()
	asked, hangs, release := 0, make(chan struct{}), make(chan struct{})
	node.summary = func() string {
		asked++
		if asked == 5 {
			close(hangs)
			<-release
		}
		return strconv.Itoa(asked)
	}
	r := runNodeCommandIn(t, map[string]string{envNotifySocket: manager.socket, envWatchdogUsec: "2000", envWatchdogPID: strconv.Itoa(os.Getpid())}, node, devArgs...)
	node.step(t, "start")
	node.step(t, "running")
	<-hangs
	r.signal(t, syscall.SIGTERM)
	node.step(t, "shutdown")
	var said []string
	for {
		m, _ := manager.next(t)
		if m["WATCHDOG"] == "1" {
			said = append(said, m["STATUS"])
		}
		if m["STOPPING"] == "1" {
			break
		}
	}
	if got := strings.Join(said, " "); got != "2 3 4" { // 1 came with READY
		t.Errorf("signs of life with %q, want each with an answer of the node: 2 3 4", got)
	}
	close(release)
	if got := r.wait(t); got.status != exitDone {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}

// TestSignsOfLifeWhileStopping: a stop may take longer than the watchdog's time.
func TestSignsOfLifeWhileStopping(t *testing.T) {
	manager, node := newFakeManager(t, false), newFakeNode()
	release := make(chan struct{})
	node.shutdown = func(context.Context) error { <-release; return nil }
	r := runNodeCommandIn(t, map[string]string{envNotifySocket: manager.socket, envWatchdogUsec: "2000"}, node, devArgs...)
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, syscall.SIGTERM)
	manager.until(t, "STOPPING=1") // read at once: the socket holds few messages, and signs of life are many
	node.step(t, "shutdown")
	for range 3 {
		manager.until(t, "WATCHDOG=1")
	}
	close(release)
	r.wait(t)
}

func TestWatchdogInterval(t *testing.T) {
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{usec: "60000000", want: 30 * time.Second},
		{usec: "60000000", pid: strconv.Itoa(os.Getpid()), want: 30 * time.Second},
		{usec: "60000000", pid: "1"}, // another process is watched
		{usec: ""},
		{usec: "0"},
		{usec: "-1"},
		{usec: "soon"},
		{usec: "9223372036854775807"},
	} {
		env := func(name string) (string, bool) {
			switch name {
			case envWatchdogUsec:
				return tt.usec, tt.usec != ""
			case envWatchdogPID:
				return tt.pid, tt.pid != ""
			}
			return "", false
		}
		if got := watchdogInterval(env); got != tt.want {
			t.Errorf("%q of %q: %v, want %v", tt.usec, tt.pid, got, tt.want)
		}
	}
}

// TestBrokenManager doesn't stop a node, and is said once.
func TestBrokenManager(t *testing.T) {
	for name, socket := range map[string]string{
		"absent":         filepath.Join(t.TempDir(), "absent"),
		"no socket":      file(t, ""),
		"relative":       "notify",
		"another family": "vsock:2:1234",
	} {
		t.Run(name, func(t *testing.T) {
			node := newFakeNode()
			r := runNodeCommandIn(t, map[string]string{envNotifySocket: socket, envWatchdogUsec: "2000"}, node, devArgs...)
			node.step(t, "start")
			node.step(t, "running")
			r.signal(t, syscall.SIGHUP)
			node.step(t, "reload")
			r.signal(t, syscall.SIGTERM)
			node.step(t, "shutdown")
			if got := r.wait(t); got.status != exitDone || strings.Count(got.stderr, "the service manager can't be told") != 1 {
				t.Errorf("status %d, log %s", got.status, got.stderr)
			}
		})
	}
}

// TestManagerThatDoesNotRead holds nothing up for longer than the patience.
func TestManagerThatDoesNotRead(t *testing.T) {
	manager := newFakeManager(t, false)
	var log lockedBuffer
	m := newServiceManager(func(name string) (string, bool) { return manager.socket, name == envNotifySocket },
		hclog.New(&hclog.LoggerOptions{Output: &log}))
	m.patience = 10 * time.Millisecond
	for !m.failed { // the system keeps some messages
		m.say("STATUS=" + strings.Repeat("x", 16<<10))
	}
	if !strings.Contains(log.String(), "the service manager can't be told") {
		t.Errorf("the log says %s", log.String())
	}
	m.patience = time.Minute
	for range 2 {
		manager.next(t)
	}
	if m.say("STATUS=again"); m.failed {
		t.Error("a manager that reads again isn't told")
	}
}

// TestWithoutServiceManager nothing is done for one.
func TestWithoutServiceManager(t *testing.T) {
	node := newFakeNode()
	node.summary = func() string { t.Error("somebody asked how the node does"); return "" }
	r := runNodeCommandIn(t, map[string]string{envNotifySocket: "", envWatchdogUsec: "2000"}, node, devArgs...)
	node.step(t, "start")
	node.step(t, "running")
	r.signal(t, syscall.SIGHUP)
	node.step(t, "reload")
	r.signal(t, syscall.SIGTERM)
	if got := r.wait(t); got.status != exitDone {
		t.Errorf("status %d, log %s", got.status, got.stderr)
	}
}
