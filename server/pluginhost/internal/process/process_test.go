package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// patience is how long a test waits for what has to happen.
const patience = 2 * time.Minute

// rig is a plugin under test, with what it told.
type rig struct {
	*Process
	t   *testing.T
	dir string
	log *lines

	mu      sync.Mutex
	changed chan struct{}
	states  []Status
}

// lines is a log that tests look into.
type lines struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log holds a text.
func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.written:
		case <-deadline:
			t.Fatalf("the log doesn't hold %q:\n%s", text, l)
		}
	}
}

// install links the test binary into a plugin directory.
func install(t *testing.T, dir, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if os.Link(self, path) == nil {
		return path
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func newSockets(t *testing.T) *Sockets {
	t.Helper()
	s := NewSockets(t.TempDir())
	if err := s.Wipe(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// run starts a plugin of the tests. change may change its options, and what is in
// its directory.
func run(t *testing.T, mode string, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), log: &lines{written: make(chan struct{}, 1)}, changed: make(chan struct{}, 1)}
	install(t, r.dir, "notifier-"+mode)
	o := Options{
		Name: "test", Type: mode, Kind: pluginv1.Kind_KIND_NOTIFIER, Namespaces: []string{"default"},
		MemoryLimit: 1 << 30, PluginDir: r.dir, SocketDir: newSockets(t).Dir, NodeID: "node",
		Logger: hclog.New(&hclog.LoggerOptions{Output: r.log, Level: hclog.Debug}),
		OnChange: func(s Status) {
			r.mu.Lock()
			r.states = append(r.states, s)
			r.mu.Unlock()
			select {
			case r.changed <- struct{}{}:
			default:
			}
		},
		Timing: Timing{BackoffMin: time.Millisecond, BackoffMax: 4 * time.Millisecond, Look: 5 * time.Millisecond, Drain: patience, Exit: patience},
	}
	for _, f := range change {
		f(&o)
	}
	r.Process = New(o)
	r.Start()
	t.Cleanup(func() {
		r.Stop(context.Background())
		if s := r.Status(); s.State != Stopped || s.PID != 0 {
			t.Errorf("after Stop it is %s, with process %d", s.State, s.PID)
		}
		if t.Failed() {
			t.Logf("the log:\n%s", r.log)
		}
	})
	return r
}

// until waits for a state that fits.
func (r *rig) until(what string, fits func(Status) bool) Status {
	r.t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; {
		r.mu.Lock()
		for ; seen < len(r.states); seen++ {
			if s := r.states[seen]; fits(s) {
				r.mu.Unlock()
				return s
			}
		}
		r.mu.Unlock()
		select {
		case <-r.changed:
		case <-deadline:
			r.t.Fatalf("never %s; it is %+v", what, r.Status())
		}
	}
}

func (r *rig) untilReady() Status {
	r.t.Helper()
	return r.until("ready", func(s Status) bool { return s.State == Ready })
}

// degraded waits until the plugin is degraded for a reason that holds these words.
func (r *rig) degraded(words ...string) Status {
	r.t.Helper()
	s := r.until("degraded", func(s Status) bool { return s.State == Degraded })
	for _, w := range words {
		if !strings.Contains(s.Reason, w) {
			r.t.Errorf("the reason doesn't hold %q: %s", w, s.Reason)
		}
	}
	return s
}

// forget lets until see only what comes.
func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = nil
}

func batch(namespace string) *pluginv1.NotifyRequest {
	return &pluginv1.NotifyRequest{Namespace: namespace, Events: []*pluginv1.Event{{Key: []byte("k"), Lsn: 1}}}
}

func TestAPluginWorks(t *testing.T) {
	out := filepath.Join(t.TempDir(), "env")
	t.Setenv("SECRET_OF_THE_NODE", "yes")
	t.Setenv("NOTIFY_SOCKET", "@its service manager's") // whoever has it could speak for the node
	r := run(t, "good", func(o *Options) { o.Config = map[string]any{"file": out, "port": int64(5)} })
	if _, err := r.Notify(t.Context(), batch("default")); err != nil {
		t.Fatal(err)
	}
	s := r.Status()
	if s.State != Ready || s.Info.GetVersion() != version || len(s.SHA256) != 64 || s.PID == 0 || s.Restarts != 0 {
		t.Errorf("status %+v", s)
	}
	if s.Memory <= 0 {
		t.Errorf("it uses %d bytes of memory", s.Memory)
	}
	env, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(env), "SECRET_OF_THE_NODE") || strings.Contains(string(env), "NOTIFY_SOCKET") || !strings.Contains(string(env), "PLUGIN_UNIX_SOCKET_DIR=") {
		t.Errorf("its environment is\n%s", env)
	}
}

func TestBrokenPlugins(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode   string
		change func(*Options)
		words  []string
	}{
		{"exits", nil, []string{"exited with status 7", "cannot open /etc/exits.conf", "started again"}},
		{"garbage", nil, []string{"doesn't speak as a plugin does", "hello, I am a shell script"}},
		{"silent", func(o *Options) { o.Timing.Start = 100 * time.Millisecond }, []string{"didn't say within 100ms where it listens"}},
		{"tcp", nil, []string{"listens on tcp", "PLUGIN_UNIX_SOCKET_DIR"}},
		{"elsewhere", nil, []string{"listens on /tmp/some.sock", "PLUGIN_UNIX_SOCKET_DIR"}},
		{"future", nil, []string{"none of the versions of the protocol"}},
		{"hangs_configure", func(o *Options) { o.Timing.Configure = 100 * time.Millisecond }, []string{"didn't answer Configure within 100ms", "killed"}},
		{"dies_configure", nil, []string{"exited with status 2", "configure: out of luck"}},
		{"refuses", func(o *Options) { o.Config = map[string]any{"file": "x"}; o.Where = whereLine }, []string{"hub.hcl:12: file: no such directory: create it", "tried again in"}},
		{"good", func(o *Options) { o.SHA256 = strings.Repeat("ab", 32) }, []string{"its sha256 is ", "expected " + strings.Repeat("ab", 32), "notifier-good", "file changes"}},
		{"good", func(o *Options) { o.Version = "2.0.0" }, []string{`version "1.2.3"`, `pins "2.0.0"`}},
		{"good", func(o *Options) {
			o.Config = map[string]any{"prot": int64(1), "port": int64(99999)}
			o.Where = whereLine
		}, []string{`hub.hcl:14: prot: `, `did you mean "port"`, "hub.hcl:13: port: use 65535 or less"}},
		{"good", func(o *Options) { mode(o, 0o644) }, []string{"not executable", "chmod +x"}},
		{"good", func(o *Options) { otherMachine(o) }, []string{"it is built for s390x", "this machine is"}},
		{"good", func(o *Options) { write(o, "no program") }, []string{"neither a program nor a script"}},
		{"good", func(o *Options) { write(o, "#!/no/such/interpreter\n") }, []string{"its interpreter /no/such/interpreter isn't on this machine"}},
		{"good", func(o *Options) {
			write(o, "#!/bin/sh\necho 'x: error while loading shared libraries: libzmq.so.5: cannot open shared object file' >&2\nexit 127\n")
		}, []string{"status 127", "libzmq.so.5", "install the library"}},
		{"good", func(o *Options) { o.Type = "godo" }, []string{"there is no program notifier-godo", "there are notifier-good"}},
		{"good", func(o *Options) { o.Type = "../x" }, []string{"can't be the type of a plugin"}},
		{"good", func(o *Options) { outside(o) }, []string{"outside plugin_dir"}},
		{"good", func(o *Options) { o.PluginDir += "x" }, []string{"plugin_dir", "create it"}},
		{"good", func(o *Options) { o.Timing.Measure = time.Millisecond; o.MemoryLimit = 1 << 20 }, []string{"more than its memory_limit of 1MiB"}},
	} {
		t.Run(tt.mode+" "+tt.words[0], func(t *testing.T) {
			t.Parallel()
			r := run(t, tt.mode, func(o *Options) {
				if tt.change != nil {
					tt.change(o)
				}
			})
			r.degraded(tt.words...)
		})
	}
}

func whereLine(path string) string {
	switch path {
	case "file":
		return "hub.hcl:12"
	case "port":
		return "hub.hcl:13"
	case "prot":
		return "hub.hcl:14"
	}
	return ""
}

// replaceFile puts another file in the program's place.
func replaceFile(o *Options, data []byte, mode os.FileMode) {
	path := filepath.Join(o.PluginDir, "notifier-"+o.Type)
	if err := errors.Join(os.Remove(path), os.WriteFile(path, data, mode)); err != nil {
		panic(err)
	}
}

func write(o *Options, text string) { replaceFile(o, []byte(text), 0o755) }

func mode(o *Options, m os.FileMode) { replaceFile(o, []byte("#!/bin/sh\n"), m) }

// otherMachine is the head of a program for a machine that this one isn't.
func otherMachine(o *Options) {
	head := make([]byte, 120)
	copy(head, "\x7fELF\x02\x02\x01")
	binary.BigEndian.PutUint16(head[16:], 2)
	binary.BigEndian.PutUint16(head[18:], 22)
	binary.BigEndian.PutUint32(head[20:], 1)
	replaceFile(o, head, 0o755)
}

func outside(o *Options) {
	path := filepath.Join(o.PluginDir, "notifier-"+o.Type)
	inner := filepath.Join(o.PluginDir, "inner")
	if err := errors.Join(os.Mkdir(inner, 0o755), os.Symlink(path, filepath.Join(inner, "notifier-"+o.Type))); err != nil {
		panic(err)
	}
	o.PluginDir = inner
}

func TestAHangInNotifyIsEnded(t *testing.T) {
	t.Parallel()
	r := run(t, "hangs_notify", func(o *Options) { o.Timing.Notify = 100 * time.Millisecond })
	_, err := r.Notify(t.Context(), batch("default"))
	if !errors.Is(err, ErrHung) {
		t.Errorf("error %v, want ErrHung", err)
	}
	r.degraded("didn't answer to a batch of 1 events", "within 100ms", "killed")
	r.forget()
	r.untilReady() // it is started again
}

func TestTheCircuitBreakerOpens(t *testing.T) {
	t.Parallel()
	r := run(t, "exits")
	s := r.until("resting", func(s Status) bool { return strings.Contains(s.Reason, "times in a row") })
	if s.State != Degraded || s.Restarts != quickFailures-1 {
		t.Errorf("it is %s after %d restarts", s.State, s.Restarts)
	}
	r.forget()
	if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "status 7") {
		t.Errorf("reload: %v", err)
	}
	install2 := filepath.Join(r.dir, "notifier-exits")
	if err := errors.Join(os.Remove(install2), os.WriteFile(install2, []byte("#!/bin/sh\nexit 9\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	r.until("tried again because the file changed", func(s Status) bool { return strings.Contains(s.Reason, "status 9") })
}

func TestAUsefulPluginThatDiesComesBack(t *testing.T) {
	t.Parallel()
	r := run(t, "good")
	for range quickFailures + 1 {
		if _, err := r.Notify(t.Context(), batch("default")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Notify(t.Context(), batch("die")); err == nil {
			t.Fatal("a dead plugin answers")
		}
	}
	if s := r.until("degraded", func(s Status) bool { return s.State == Degraded }); !strings.Contains(s.Reason, "notify: out of luck") {
		t.Errorf("the reason is %q", s.Reason)
	}
	if _, err := r.Notify(t.Context(), batch("default")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.log.String(), "[ERROR] test: panic: notify: out of luck") && !strings.Contains(r.log.String(), "[ERROR] panic: notify: out of luck") {
		t.Errorf("the panic isn't in the log as an error")
	}
}

func TestAFloodOfLogLinesIsBounded(t *testing.T) {
	t.Parallel()
	r := run(t, "floods")
	r.log.await(t, "lines were left out")
	if _, err := r.Notify(t.Context(), batch("default")); err != nil {
		t.Fatal(err)
	}
	s := r.Status()
	if s.State != Ready || s.LinesDropped == 0 {
		t.Errorf("it is %s, and %d lines were dropped", s.State, s.LinesDropped)
	}
	if n := strings.Count(r.log.String(), "flood flood"); n > linesBurst+60*linesPerSecond {
		t.Errorf("%d lines of the flood are in the log", n)
	}
}

// go-plugin's own reader of such lines panics.
func TestMalformedLogLinesHurtNobody(t *testing.T) {
	t.Parallel()
	r := run(t, "rude")
	r.untilReady()
	r.log.await(t, "[ERROR] plain [31m and red")
	r.log.await(t, "[WARN]  structured: n=3")
	r.log.await(t, `{"@message": 5`)
}

func TestAProgramThatAllocatesWithoutEndIsKilled(t *testing.T) {
	t.Parallel()
	r := run(t, "allocates", func(o *Options) { o.MemoryLimit = 256 << 20; o.Timing.Measure = 5 * time.Millisecond })
	r.degraded("more than its memory_limit of 256MiB", "killed")
}

func TestAnIdlePluginThatHangsIsEnded(t *testing.T) {
	t.Parallel()
	r := run(t, "freezes", func(o *Options) { o.Timing.Ping, o.Timing.Alive = time.Millisecond, 50*time.Millisecond })
	r.degraded("didn't answer for")
}

func TestReloadReplacesARunningProcess(t *testing.T) {
	t.Parallel()
	r := run(t, "good")
	old := r.untilReady()
	const reloads = 2
	for range reloads {
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Status()
	if s.State != Ready || s.PID == old.PID || s.Restarts != reloads {
		t.Errorf("after the reloads: %+v, before: %+v", s, old)
	}
	for _, seen := range r.states {
		if seen.State == Degraded {
			t.Errorf("it was degraded: %s", seen.Reason)
		}
	}
}

func TestReloadKeepsTheOldProcessWhereTheNewFileIsBad(t *testing.T) {
	t.Parallel()
	r := run(t, "good")
	old := r.untilReady()
	for text, reason := range map[string]string{"no program": "neither a program", "#!/bin/sh\nexit 3\n": "exited with status 3"} {
		write(&r.opts, text)
		if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), reason) {
			t.Fatalf("reload: %v", err)
		}
	}
	s := r.Status()
	if s.State != Ready || s.PID != old.PID || s.SHA256 != old.SHA256 || !strings.Contains(s.Reason, "the reload failed") {
		t.Errorf("after the reload: %+v", s)
	}
	if _, err := r.Notify(t.Context(), batch("default")); err != nil {
		t.Error(err)
	}
}

func TestReloadEndsTheOldProcessWhereBothCantBe(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "lock")
	r := run(t, "good", func(o *Options) { o.Config = map[string]any{"lock": name} })
	old := r.untilReady()
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); s.State != Ready || s.PID == old.PID {
		t.Errorf("after the reload: %+v", s)
	}
}

func TestStopWithoutTimeKills(t *testing.T) {
	t.Parallel()
	r := run(t, "hangs_notify")
	r.untilReady()
	failed := make(chan error)
	go func() {
		_, err := r.Notify(context.Background(), batch("default"))
		failed <- err
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Stop(ctx)
	if err := <-failed; err == nil {
		t.Error("a killed plugin answers")
	}
}

// envNode names the directory of a node that is killed.
const envNode = "PROCESS_TEST_NODE"

// beNode is a node with a plugin, which tells the plugin's process and waits to be killed.
func beNode(dir string) {
	p := New(Options{
		Name: "test", Type: "good", Kind: pluginv1.Kind_KIND_NOTIFIER, MemoryLimit: 1 << 30, PluginDir: dir,
		SocketDir: NewSockets(dir).Dir, Logger: hclog.NewNullLogger(),
		OnChange: func(s Status) {
			if s.State == Ready {
				fmt.Println(s.PID)
			}
		},
	})
	p.Start()
	select {}
}

func TestNoProcessOutlivesAKilledNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "notifier-good")
	sockets := NewSockets(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command(self)
	node.Env = append(os.Environ(), envNode+"="+dir)
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	ended := processEnd(t, pid)
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = node.Wait() // it was killed
	ended()
	left, err := os.ReadDir(sockets.dir)
	if err != nil || len(left) == 0 {
		t.Fatalf("the killed node left %v (%v), and this test expects its sockets", left, err)
	}
	if err := sockets.Wipe(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(sockets.dir); !os.IsNotExist(err) {
		t.Errorf("the next start leaves the directory: %v", err)
	}
	if err := sockets.Wipe(); err != nil {
		t.Errorf("where there is nothing to wipe: %v", err)
	}
}
