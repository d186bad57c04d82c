package pluginhost_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// patience is how long a test waits for what has to happen.
const patience = 2 * time.Minute

// node is what a host needs of a node.
type node struct {
	t    *testing.T
	db   *dbkernel.DB
	ns   *dbkernel.Namespace
	opts pluginhost.Options
	host *pluginhost.Host

	mu      sync.Mutex
	events  []pluginhost.Event
	changed chan struct{}
}

// newNode is a node with a namespace and a plugin directory, and a host that isn't
// started.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, changed: make(chan struct{}, 1)}
	dir := t.TempDir()
	var err error
	if n.db, err = dbkernel.Open(dbkernel.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.db.Close(); err != nil {
			t.Error(err)
		}
	})
	if n.ns, err = n.db.Create("default", dbkernel.Lineage{1}); err != nil {
		t.Fatal(err)
	}
	n.opts = pluginhost.Options{
		PluginDir: filepath.Join(dir, "plugins"), DataDir: dir, NodeID: "n1",
		Namespace: n.db.Namespace, Owns: func(string) bool { return true },
		Logger: hclog.New(&hclog.LoggerOptions{Output: t.Output(), Level: hclog.Debug}),
		OnEvent: func(e pluginhost.Event) {
			n.mu.Lock()
			n.events = append(n.events, e)
			n.mu.Unlock()
			select {
			case n.changed <- struct{}{}:
			default:
			}
		},
	}
	if err := os.Mkdir(n.opts.PluginDir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notifier-lines", "notifier-shout", "model-sums"} {
		if err := os.Link(self, filepath.Join(n.opts.PluginDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// start runs a host with plugins; another one may run after it was stopped.
func (n *node) start(specs ...pluginhost.Spec) {
	n.t.Helper()
	host := pluginhost.New(n.opts)
	n.host = host
	host.Start(specs)
	n.t.Cleanup(func() { n.stop(host) })
}

func (n *node) stop(h *pluginhost.Host) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.Stop(ctx); err != nil {
		n.t.Error(err)
	}
}

// until waits until a plugin's status fits.
func (n *node) until(name, what string, fits func(pluginhost.Status) bool) pluginhost.Status {
	n.t.Helper()
	deadline := time.After(patience)
	for {
		s, err := n.host.Plugin(name)
		if err != nil {
			n.t.Fatal(err)
		}
		if fits(s) {
			return s
		}
		select {
		case <-n.changed:
		case <-deadline:
			n.t.Fatalf("%s is never %s: %+v", name, what, s)
		}
	}
}

func (n *node) untilReady(name string) pluginhost.Status {
	n.t.Helper()
	return n.until(name, "ready", func(s pluginhost.Status) bool { return s.State == pluginhost.StateReady })
}

func (n *node) put(keys ...string) {
	n.t.Helper()
	for _, key := range keys {
		if _, err := n.ns.Update(n.t.Context(), func(tx *dbkernel.Tx) error { return tx.Put([]byte(key), []byte("v"), 0) }); err != nil {
			n.t.Fatal(err)
		}
	}
}

// receiver is the other side of a notifier.
type receiver struct {
	t      *testing.T
	addr   string
	events chan string // keys, in order; reset's is empty
	answer func(keys []string) string
}

// receive begins to receive. Answers are "ok" unless answer says otherwise.
func receive(t *testing.T, answer func(keys []string) string) *receiver {
	t.Helper()
	dir, err := os.MkdirTemp("", "r") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, addr: filepath.Join(dir, "s"), events: make(chan string, 10000), answer: answer}
	l, err := net.Listen("unix", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.batch(conn)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
		_ = os.RemoveAll(dir)
	})
	return r
}

func (r *receiver) batch(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var keys []string
	for s := bufio.NewScanner(conn); s.Scan() && s.Text() != ""; {
		var m struct{ Key, Operation string }
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			r.t.Errorf("%s: %v", s.Text(), err)
		}
		keys = append(keys, m.Key)
	}
	answer := "ok"
	if r.answer != nil {
		answer = r.answer(keys)
	}
	for i, key := range keys {
		if i > 0 || answer == "ok" {
			r.events <- key
		}
	}
	_, _ = conn.Write([]byte(answer)) // the plugin may be gone
}

// expect waits for these keys, in this order.
func (r *receiver) expect(keys ...string) {
	r.t.Helper()
	deadline := time.After(patience)
	for _, want := range keys {
		select {
		case got := <-r.events:
			if got != want {
				r.t.Fatalf("got %q, want %q", got, want)
			}
		case <-deadline:
			r.t.Fatalf("%q never comes", want)
		}
	}
}

func linesSpec(r *receiver) pluginhost.Spec {
	return pluginhost.Spec{
		Name: "out", Type: "lines", Kind: pluginhost.KindNotifier, Namespaces: []string{"default"},
		Config: map[string]any{"address": r.addr}, Delivery: pluginhost.DeliveryOptions{StartFrom: pluginhost.FromOldest},
	}
}

func TestChangesReachANotifier(t *testing.T) {
	t.Parallel()
	for _, runOn := range []pluginhost.RunOn{pluginhost.RunOnOwner, pluginhost.RunOnEvery} {
		t.Run(string(runOn), func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			r := receive(t, nil)
			spec := linesSpec(r)
			spec.Delivery.RunOn = runOn
			n.put("a", "b")
			n.start(spec)
			n.put("c")
			r.expect("a", "b", "c")
			s := n.untilReady("out")
			if s.PID == 0 || s.Version != "1.0.0" || len(s.SHA256) != 64 || s.MemoryBytes == 0 || s.MemoryLimit != pluginhost.DefaultMemoryLimit {
				t.Errorf("status %+v", s)
			}
			n.stop(n.host)
			if s, err := n.host.Plugin("out"); err != nil || s.State != pluginhost.StateStopped || s.PID != 0 {
				t.Errorf("after Stop: %+v, %v", s, err)
			}
			n.put("d")
			n.start(spec)
			n.put("e")
			r.expect("d", "e") // it goes on where it was
		})
	}
}

func TestAPluginThatComesLateMissesNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	r := receive(t, nil)
	path := filepath.Join(n.opts.PluginDir, "notifier-lines")
	if err := os.Rename(path, path+".new"); err != nil {
		t.Fatal(err)
	}
	n.put("before")
	spec := linesSpec(r)
	spec.Delivery.StartFrom = pluginhost.FromNewest
	n.start(spec)
	s := n.until("out", "degraded", func(s pluginhost.Status) bool { return s.State == pluginhost.StateDegraded })
	if !strings.Contains(s.Reason, "there is no program notifier-lines") {
		t.Errorf("the reason is %q", s.Reason)
	}
	untilFollowing(t, n)
	n.put("meanwhile")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if s, err := n.host.Reload(t.Context(), "out"); err != nil || s.State != pluginhost.StateReady {
		t.Fatalf("reload: %+v, %v", s, err)
	}
	r.expect("meanwhile")
}

// untilFollowing waits until the pump has found its place.
func untilFollowing(t *testing.T, n *node) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		s, err := n.host.Plugin("out")
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Namespaces) == 1 && s.Namespaces[0].Cursor != "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the pump never begins: %+v", s)
		}
	}
}

func TestApplyLeavesTheUnchangedAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	r1, r2 := receive(t, nil), receive(t, nil)
	one, two := linesSpec(r1), linesSpec(r2)
	two.Name = "default/lines"
	n.start(one, two)
	n.put("a")
	r1.expect("a")
	r2.expect("a")
	before1, before2 := n.untilReady("out"), n.untilReady("default/lines")

	two.Delivery.Prefix = []byte("x")
	two.Where = func(string) string { return "hub.hcl:1" }
	three := pluginhost.Spec{Name: "sums", Type: "sums", Kind: pluginhost.KindModel, Namespaces: []string{"default"}}
	if err := n.host.Apply(t.Context(), []pluginhost.Spec{three, one, two}); err != nil {
		t.Fatal(err)
	}
	n.put("b", "xc")
	r1.expect("b", "xc")
	r2.expect("xc") // the filter is new
	n.untilReady("sums")
	if s := n.untilReady("out"); s.PID != before1.PID {
		t.Error("an unchanged plugin was started anew")
	}
	if s := n.untilReady("default/lines"); s.PID != before2.PID {
		t.Error("the process of a plugin was started anew though only the delivery changed")
	}

	one.Config = map[string]any{"address": r2.addr}
	if err := n.host.Apply(t.Context(), []pluginhost.Spec{one}); err != nil {
		t.Fatal(err)
	}
	if s := n.untilReady("out"); s.PID == before1.PID {
		t.Error("a changed plugin wasn't started anew")
	}
	if _, err := n.host.Plugin("sums"); !errors.Is(err, pluginhost.ErrPluginNotFound) {
		t.Errorf("a removed plugin: %v", err)
	}
	n.put("d")
	r2.expect("d")
}

func TestAWrongConfigurationIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	spec := linesSpec(receive(t, nil))
	spec.Config = map[string]any{"addr3ss": "x"}
	spec.Where = func(path string) string {
		if path == "addr3ss" {
			return "hub.hcl:7"
		}
		return "hub.hcl:3"
	}
	n.start(spec)
	s := n.until("out", "degraded", func(s pluginhost.Status) bool { return s.State == pluginhost.StateDegraded })
	for _, words := range []string{"hub.hcl:7: addr3ss: ", `did you mean "address"?`, "hub.hcl:3: address: "} {
		if !strings.Contains(s.Reason, words) {
			t.Errorf("the reason doesn't hold %q:\n%s", words, s.Reason)
		}
	}
}

func TestDeadLettersAreListedAndRetried(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var mu sync.Mutex
	refuse := true
	r := receive(t, func(keys []string) string {
		mu.Lock()
		defer mu.Unlock()
		if refuse && keys[0] == "bad" {
			return "no"
		}
		return "ok"
	})
	n.put("bad")
	n.start(linesSpec(r))
	n.put("good")
	r.expect("good")
	n.until("out", "refused", func(s pluginhost.Status) bool { return len(s.Namespaces) > 0 && s.Namespaces[0].DeadLetters == 1 })
	letters, err := n.host.DeadLetters("out")
	if err != nil || len(letters) != 1 || letters[0].Reason != "not wanted" || !strings.Contains(string(letters[0].Event), `"key":"bad"`) {
		t.Fatalf("dead letters %+v, %v", letters, err)
	}
	mu.Lock()
	refuse = false
	mu.Unlock()
	accepted, left, err := n.host.RetryDeadLetters(t.Context(), "out", nil)
	if err != nil || accepted != 1 || left != 0 {
		t.Fatalf("retry: %d accepted, %d left, %v", accepted, left, err)
	}
	r.expect("bad")
	if _, err := n.host.DeadLetters("sums"); !errors.Is(err, pluginhost.ErrPluginNotFound) {
		t.Errorf("dead letters of an unknown plugin: %v", err)
	}
}

func TestADataModelAnswersAndWrites(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.start(pluginhost.Spec{Name: "sums", Type: "sums", Kind: pluginhost.KindModel, Namespaces: []string{"default"}})
	n.untilReady("sums")
	call := func(method, body string) (pluginhost.Answer, error) {
		return n.host.Call(t.Context(), pluginhost.Request{Namespace: "default", Model: "sums", Method: method, Body: []byte(body)})
	}
	const callers = 8
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if a, err := call("add", "5"); err != nil || !a.Wrote {
				t.Errorf("add: %+v, %v", a, err)
			}
		})
	}
	wg.Wait()
	a, err := call("get", "")
	if err != nil || string(a.Body) != fmt.Sprint(5*callers) {
		t.Errorf("get: %s, %v", a.Body, err)
	}
	if a, err := call("add", "x"); err != nil || a.Status != 400 {
		t.Errorf("a bad request: %+v, %v", a, err)
	}
	if _, err := call("sub", ""); !errors.Is(err, pluginhost.ErrMethodNotFound) {
		t.Errorf("an unknown method: %v", err)
	}
	if _, err := n.host.Call(t.Context(), pluginhost.Request{Namespace: "default", Model: "x", Method: "y"}); !errors.Is(err, pluginhost.ErrModelNotFound) {
		t.Errorf("an unknown model: %v", err)
	}
	if _, err := n.host.Call(t.Context(), pluginhost.Request{Namespace: "other", Model: "sums", Method: "get"}); !errors.Is(err, pluginhost.ErrModelNotFound) {
		t.Errorf("a namespace that the model doesn't serve: %v", err)
	}
	if _, err := n.host.DeadLetters("sums"); !errors.Is(err, pluginhost.ErrNoDeadLetters) {
		t.Errorf("dead letters of a data model: %v", err)
	}
	if s := n.untilReady("sums"); len(s.Methods) != 2 || !s.Methods[0].Writes {
		t.Errorf("methods %+v", s.Methods)
	}
}

func TestADisabledPluginStaysDown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	spec := linesSpec(receive(t, nil))
	spec.Disabled = true
	n.start(spec)
	if s, err := n.host.Plugin("out"); err != nil || s.State != pluginhost.StateDisabled || s.PID != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	if _, err := n.host.Reload(t.Context(), "out"); !errors.Is(err, pluginhost.ErrNotReady) {
		t.Errorf("reload: %v", err)
	}
}

func TestFireAndForgetKeepsNoCursor(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	r := receive(t, nil)
	spec := linesSpec(r)
	spec.Type = "shout"
	spec.Delivery.RunOn = pluginhost.RunOnEvery
	spec.Delivery.StartFrom = pluginhost.FromNewest
	n.start(spec)
	untilFollowing(t, n)
	n.put("a")
	r.expect("a")
	n.stop(n.host)
	if left, err := filepath.Glob(filepath.Join(n.opts.DataDir, "notifiers", "*", "*.json")); err != nil || len(left) > 0 {
		t.Errorf("cursors %v, %v", left, err)
	}
}

func TestTheFrontAnswersBeforeStart(t *testing.T) {
	t.Parallel()
	h := pluginhost.New(pluginhost.Options{})
	if got := h.Plugins(); len(got) != 0 {
		t.Errorf("plugins %v", got)
	}
	if _, err := h.Plugin("x"); !errors.Is(err, pluginhost.ErrPluginNotFound) {
		t.Error(err)
	}
	if _, err := h.Call(t.Context(), pluginhost.Request{Model: "x"}); !errors.Is(err, pluginhost.ErrModelNotFound) {
		t.Error(err)
	}
	if err := h.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
