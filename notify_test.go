package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// A hub and a relayer with notifiers, as real programs, whose plugins and receivers
// are killed at random under load, and they themselves. In the end every receiver
// has the change of every acknowledged write, in order by key.

// notifyRounds is in how many rounds each of them is killed once.
func notifyRounds(t *testing.T) int {
	t.Helper()
	if os.Getenv("DURATION") == "" {
		return 3
	}
	if s := os.Getenv("NOTIFY_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("NOTIFY_ROUNDS=%s: %v", s, err)
		}
		return n
	}
	return 50
}

// Where changes come from and who gets them.
const (
	hookName = "hook" // a webhook of the hub
	busName  = "bus"  // MQTT, of the hub
	edgeName = "edge" // a webhook of the relayer, from its own log
)

var notifiedNamespaces = []string{"orders", "stock"}

// notifyRig is all that runs.
type notifyRig struct {
	t           *testing.T
	plugins     string // the folder of the programs
	hub, edge   *process
	hook, local *hookReceiver
	bus         *broker
	listener    *zeromqListener
	ledger      *changes
	writes      atomic.Int64
}

// TestNotifyThroughKills is the promise of every notifier that isn't fire and forget.
func TestNotifyThroughKills(t *testing.T) {
	t.Parallel()
	rounds, seed := notifyRounds(t), seedFromEnv(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2+rounds)*patience)
	defer cancel()
	r := newNotifyRig(t)
	rng := rand.New(rand.NewPCG(seed, 4))

	stop := r.keepWriting(ctx, seed)
	for round := range rounds {
		r.killEach(ctx, round, rng)
	}
	stop()
	for _, j := range r.journals() {
		r.await(ctx, j)
	}
	r.listener.hears(ctx, t, r.hub.client)
	t.Logf("%d writes, %d changes of them", r.writes.Load(), r.ledger.size())
	for _, j := range r.journals() {
		t.Log(j.summary())
	}
	r.endsWithoutOrphans(ctx)
}

func newNotifyRig(t *testing.T) *notifyRig {
	t.Helper()
	binary := buildBinary(t)
	r := &notifyRig{
		t: t, plugins: buildPlugins(t, "webhook", "mqtt", "zeromq"), ledger: newChanges(),
		hook: newHookReceiver(t, hookName), local: newHookReceiver(t, edgeName), bus: newBroker(t, busName),
	}
	zeromq := freeAddress(t)
	_, port, err := net.SplitHostPort(zeromq)
	if err != nil {
		t.Fatal(err)
	}
	spaces := `"` + strings.Join(notifiedNamespaces, `", "`) + `"`
	plugins := fmt.Sprintf("plugin_dir = %q\n", r.plugins)
	r.hub = newProcess(t, binary, "hub", "server", plugins+fmt.Sprintf(`
namespace %q {
  notifier "zeromq" { bind_port = %s }
}
namespace %q {}
`, notifiedNamespaces[0], port, notifiedNamespaces[1])+
		r.hook.block(hookName, spaces)+
		fmt.Sprintf("notifier \"mqtt\" %q {\n  namespaces = [%s]\n  start_from = \"oldest\"\n  config { broker = \"mqtt://%s\" }\n}\n", busName, spaces, r.bus.address))
	r.edge = newProcess(t, binary, "relayer", "relayer",
		plugins+fmt.Sprintf("relayer {\n  upstream \"up\" {\n    addresses = [%q]\n    namespaces = [%s]\n  }\n}\n", r.hub.grpc, spaces)+
			r.local.block(edgeName, spaces))
	r.listener = newZeromqListener(t, zeromq, notifiedNamespaces[0])
	t.Cleanup(func() {
		if t.Failed() {
			r.report()
		}
	})
	r.hub.start()
	r.edge.start()
	return r
}

var installed struct {
	once sync.Once
	err  error
}

// buildInstallation builds the program and all its plugins as they are installed, once for all
// tests.
func buildInstallation(t *testing.T) (unisondb string) {
	t.Helper()
	unisondb = buildBinary(t)
	installed.once.Do(func() { installed.err = buildAllPlugins(filepath.Join(filepath.Dir(unisondb), "plugins")) })
	if installed.err != nil {
		t.Fatal(installed.err)
	}
	return unisondb
}

// buildAllPlugins builds plugins/notifier/mqtt as notifier-mqtt, and so on.
func buildAllPlugins(dir string) error {
	mains, err := filepath.Glob("plugins/*/*/main.go")
	if err != nil {
		return err
	}
	names, packages := map[string]string{}, []string(nil)
	for _, path := range mains {
		program := filepath.Dir(path)
		names[filepath.Base(program)] = filepath.Base(filepath.Dir(program)) + "-" + filepath.Base(program)
		packages = append(packages, "./"+program)
	}
	err = goBuild(dir+string(filepath.Separator), packages...)
	for built, name := range names {
		err = errors.Join(err, os.Rename(filepath.Join(dir, built), filepath.Join(dir, name)))
	}
	return err
}

// buildPlugins makes a folder with some of the notifiers.
func buildPlugins(t *testing.T, types ...string) (dir string) {
	t.Helper()
	// /proc names processes by where their programs really are.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(filepath.Dir(buildInstallation(t)), "plugins")
	for _, name := range types {
		name = "notifier-" + name
		if err := os.Link(filepath.Join(all, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (r *notifyRig) journals() []*journal {
	return []*journal{r.hook.journal, r.bus.journal, r.local.journal}
}

// report says how the notifiers do, where the test failed.
func (r *notifyRig) report() {
	for _, n := range []*process{r.hub, r.edge} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		list, err := n.client.Plugins(ctx)
		cancel()
		r.t.Logf("plugins of %s: %+v, %v", n.name, list, err)
	}
	for _, j := range r.journals() {
		r.t.Log(j.summary())
	}
}

// keepWriting writes into both namespaces until it is stopped. What isn't
// acknowledged is written again.
func (r *notifyRig) keepWriting(ctx context.Context, seed uint64) (stop func()) {
	ending := make(chan struct{})
	var wg sync.WaitGroup
	for id := range 4 {
		w := &changer{rig: r, id: id, rng: rand.New(rand.NewPCG(seed, 100+uint64(id)))}
		wg.Go(func() {
			tick := time.NewTicker(4 * time.Millisecond) // so that delivery, under the race detector, keeps up
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-ending:
					return
				}
				if err := w.change(ctx); err != nil && ctx.Err() == nil {
					r.t.Errorf("writer %d: %v", id, err)
					return
				}
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(ending)
		wg.Wait()
	})
	r.t.Cleanup(stop)
	return stop
}

// victim is something that can be killed, and has come back when the function returns.
type victim struct {
	name    string
	kill    func(ctx context.Context, rng *rand.Rand)
	journal *journal // that waits for it
}

func (r *notifyRig) victims() []victim {
	restart := func(n *process) func(context.Context, *rand.Rand) {
		return func(context.Context, *rand.Rand) {
			n.kill()
			n.start()
		}
	}
	return []victim{
		{"the hub", restart(r.hub), r.hook.journal},
		{"the relayer", restart(r.edge), r.local.journal},
		{"the plugin webhook", func(ctx context.Context, _ *rand.Rand) { r.killPlugin(ctx, r.hub, hookName) }, r.hook.journal},
		{"the plugin mqtt", func(ctx context.Context, _ *rand.Rand) { r.killPlugin(ctx, r.hub, busName) }, r.bus.journal},
		{"the relayer's plugin", func(ctx context.Context, _ *rand.Rand) { r.killPlugin(ctx, r.edge, edgeName) }, r.local.journal},
		{"the webhook's receiver", r.hook.crash, r.hook.journal},
		{"the broker", r.bus.crash, r.bus.journal},
	}
}

// killEach kills everything once, in random order, each at a random moment while
// changes arrive.
func (r *notifyRig) killEach(ctx context.Context, round int, rng *rand.Rand) {
	r.t.Helper()
	all := r.victims()
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, v := range all {
		enough := v.journal.size() + 1 + rng.IntN(120)
		r.until(ctx, fmt.Sprintf("round %d: %s gets more changes before %s is killed", round, v.journal.name, v.name), func() bool {
			return v.journal.size() >= enough
		})
		r.t.Logf("round %d: killing %s, %s", round, v.name, v.journal.summary())
		v.kill(ctx, rng)
	}
}

// killPlugin ends a plugin's process with SIGKILL.
func (r *notifyRig) killPlugin(ctx context.Context, n *process, name string) {
	r.t.Helper()
	r.until(ctx, "the plugin "+name+" runs", func() bool {
		p, err := n.client.Plugin(ctx, name)
		if err != nil || p.PID == 0 || !slices.Contains(r.running(n), p.PID) {
			return false
		}
		return syscall.Kill(p.PID, syscall.SIGKILL) == nil
	})
}

// until waits for a condition, and ends the test where it doesn't come.
func (r *notifyRig) until(ctx context.Context, what string, ok func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := poll(ctx, func() (bool, error) {
		for _, j := range r.journals() {
			if err := j.problem(); err != nil {
				return false, err
			}
		}
		if r.t.Failed() {
			return false, errors.New("a writer failed")
		}
		return ok(), nil
	})
	if err != nil {
		r.t.Fatalf("waited in vain: %s: %v", what, err)
	}
}

// await waits until a receiver has the change of every acknowledged write.
func (r *notifyRig) await(ctx context.Context, j *journal) {
	r.t.Helper()
	r.until(ctx, j.name+" gets every change", func() bool { return r.ledger.missing(j) == nil })
	if j.size() < r.ledger.size() {
		r.t.Errorf("%s has %d changes of %d", j.name, j.size(), r.ledger.size())
	}
}

// endsWithoutOrphans stops the hub in good order and kills the relayer: neither
// leaves a plugin behind.
func (r *notifyRig) endsWithoutOrphans(ctx context.Context) {
	r.t.Helper()
	r.until(ctx, "the hub runs three plugins and the relayer one", func() bool {
		return len(r.running(r.hub)) == 3 && len(r.running(r.edge)) == 1
	})
	r.hub.stop()
	if left := r.running(r.hub); len(left) != 0 {
		r.t.Errorf("the hub stopped, and left the plugins %v", left)
	}
	r.edge.kill()
	r.until(ctx, "the relayer's plugins end when it is killed", func() bool { return len(r.running(nil)) == 0 })
}

// running lists the processes of our plugins that belong to a node; nil: to any,
// or to none any more.
func (r *notifyRig) running(n *process) (pids []int) {
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil || len(all) == 0 {
		r.t.Skip("needs /proc to find processes")
	}
	for _, link := range all {
		if path, err := os.Readlink(link); err != nil || filepath.Dir(path) != r.plugins {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err == nil && (n == nil || parentOf(pid) == n.pid()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parentOf reads a process's parent; 0 where it is gone.
func parentOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}

// pid is the node's process; 0 where it doesn't run.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// stop ends the node in good order and waits until it is gone.
func (p *process) stop() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("stopping %s: %v", p.name, err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s stopped badly: %v", p.name, err)
	}
	p.cmd = nil
}

// changes is what writes that were acknowledged have changed.
type changes struct {
	mu  sync.Mutex
	all []change
}

// change is one of a record's.
type change struct {
	namespace, entryType, key string
	epoch, lsn                uint64
}

func newChanges() *changes { return &changes{} }

func (c *changes) add(more ...change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, more...)
}

func (c *changes) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}

// missing is a change that a journal doesn't have.
func (c *changes) missing(j *journal) *change {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range slices.Backward(c.all) {
		if !j.has(c.all[i]) {
			return &c.all[i]
		}
	}
	return nil
}

// changer writes keys and rows of its own.
type changer struct {
	rig    *notifyRig
	id     int
	rng    *rand.Rand
	number int // of the last write
}

// change does a random write, again until it is acknowledged.
func (w *changer) change(ctx context.Context) error {
	w.number++
	namespace := notifiedNamespaces[w.rng.IntN(len(notifiedNamespaces))]
	c := w.rig.hub.client.In(namespace)
	value := []byte(strconv.Itoa(w.number))
	kind, keys := "kv", []string{w.key("k")}
	var op func() (client.Position, error)
	switch w.rng.IntN(10) {
	case 0:
		op = func() (client.Position, error) { return c.KV().Delete(ctx, []byte(keys[0])) }
	case 1:
		kind = "row"
		op = func() (client.Position, error) { return c.Rows().Delete(ctx, []byte(keys[0])) }
	case 2, 3:
		kind = "row"
		op = func() (client.Position, error) {
			return c.Rows().Put(ctx, []byte(keys[0]), map[string][]byte{"n": value, "m": value})
		}
	case 4, 5:
		keys = append(keys, w.key("l"), w.key("m"))
		op = func() (client.Position, error) {
			var items []client.KeyValue
			for _, key := range keys {
				items = append(items, client.KeyValue{Key: []byte(key), Value: value})
			}
			return c.KV().PutAll(ctx, items)
		}
	default:
		op = func() (client.Position, error) { return c.KV().Put(ctx, []byte(keys[0]), value) }
	}
	var at client.Position
	err := until(ctx, func() (err error) {
		at, err = op()
		return err
	})
	if err != nil {
		return err
	}
	w.rig.writes.Add(1)
	for _, key := range keys {
		w.rig.ledger.add(change{namespace, kind, key, at.Epoch, at.LSN})
	}
	return nil
}

// key is one of a few, so that each changes often.
func (w *changer) key(kind string) string {
	return fmt.Sprintf("%s%d/%d", kind, w.id, w.rng.IntN(8))
}
