package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
)

const (
	// groups are of relayers with the same label, each of which is assigned namespaces by selector.
	groups     = 10
	groupHas   = 5
	reachLimit = time.Second // for a change to reach its relayer, at p99
	notMade    = "NOT_MADE"  // the code of a namespace that its owner hasn't made yet
	// lostAfter is how long a change may take before the measurement is given up.
	lostAfter = time.Minute
)

// hub is the node that is measured.
type hub struct {
	*server.Node
	url    string
	client *client.Client
	http   *http.Client
}

func startHub(ctx context.Context, dir string) (*hub, error) {
	cfg, err := config.Load(nil, config.LoadOptions{Dev: true, Role: config.RoleHub})
	if err != nil {
		return nil, err
	}
	cfg.NodeID, cfg.DataDir, cfg.Namespaces = "hub", filepath.Join(dir, "hub"), nil
	cfg.HTTP, cfg.GRPC = &config.Listener{Address: "127.0.0.1:0"}, &config.Listener{Address: "127.0.0.1:0"}
	node, err := server.New(*cfg, server.Options{Role: server.RoleHub, Version: "bench", Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})})
	if err != nil {
		return nil, err
	}
	if err := node.Start(ctx); err != nil {
		return nil, err
	}
	h := &hub{Node: node, url: "http://" + node.Addresses().HTTP, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	h.client, err = client.New(client.Config{Address: h.url})
	return h, err
}

func (h *hub) stop() error {
	h.client.Close()
	h.http.CloseIdleConnections()
	return h.Shutdown(context.Background())
}

// post makes one change.
func (h *hub) post(ctx context.Context, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := h.http.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, bytes.TrimSpace(answer))
	}
	return nil
}

// assignment is the body of a change.
type assignment struct {
	Namespace string            `json:"namespace"`
	Relayer   string            `json:"relayer,omitempty"`
	Selector  map[string]string `json:"selector,omitempty"`
}

func (h *hub) assign(ctx context.Context, a assignment) error {
	return h.post(ctx, "/v1/topology/assign?brief=true", a)
}

func (h *hub) unassign(ctx context.Context, a assignment) error {
	return h.post(ctx, "/v1/topology/unassign?brief=true", a)
}

func namespaceName(i int) string { return fmt.Sprintf("namespace-%04d", i) }

// ears are what the relayers hear.
type ears struct {
	mu      sync.Mutex
	joined  int
	has     []map[string]bool // by relayer
	moved   chan struct{}     // closed at the next change
	due     map[string]time.Time
	idle    chan int // relayers for whom no change is due
	delays  []time.Duration
	problem error
}

// listen takes what the other process prints.
func (e *ears) listen(r io.Reader) {
	dec := json.NewDecoder(r)
	for {
		var c change
		if err := dec.Decode(&c); err != nil {
			return // it has ended
		}
		e.take(c)
	}
}

func (e *ears) take(c change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() {
		close(e.moved)
		e.moved = make(chan struct{})
	}()
	switch {
	case c.Error != "":
		e.problem = errors.Join(e.problem, fmt.Errorf("%s: %s", relayerID(c.Relayer), c.Error))
		return
	case c.First:
		e.joined++
	}
	at := time.Unix(0, c.Nanos)
	for _, name := range c.Added {
		e.has[c.Relayer][name] = true
		e.arrived(c.Relayer, name, true, at)
	}
	for _, name := range c.Removed {
		delete(e.has[c.Relayer], name)
		e.arrived(c.Relayer, name, false, at)
	}
}

func key(relayer int, namespace string, has bool) string {
	return fmt.Sprint(relayer, "/", namespace, "/", has)
}

func (e *ears) arrived(relayer int, namespace string, has bool, at time.Time) {
	k := key(relayer, namespace, has)
	if due, ok := e.due[k]; ok {
		delete(e.due, k)
		e.delays = append(e.delays, at.Sub(due))
		e.idle <- relayer
	}
}

// expect notes that a change is due from now on.
func (e *ears) expect(relayer int, namespace string, has bool, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.due[key(relayer, namespace, has)] = now
}

// await waits until a condition holds.
func (e *ears) await(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, lostAfter)
	defer cancel()
	for {
		e.mu.Lock()
		done, problem, moved := holds(), e.problem, e.moved
		e.mu.Unlock()
		switch {
		case problem != nil:
			return problem
		case done:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
}

// bench measures with relayers that are told by in, which it closes, and heard by out.
func bench(ctx context.Context, o options, in io.WriteCloser, out io.Reader) (figures []figure, err error) {
	if o.namespaces < groups*groupHas+o.own+1 || o.relayers < 1 {
		return nil, fmt.Errorf("at least %d namespaces and a relayer are needed", groups*groupHas+o.own+1)
	}
	dir, err := os.MkdirTemp(o.dir, "unisondb-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	h, err := startHub(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	b := &run{options: o, hub: h, ears: &ears{moved: make(chan struct{}), due: map[string]time.Time{}, idle: make(chan int, o.relayers)}}
	for _, r := range rand.Perm(o.relayers) {
		b.ears.has = append(b.ears.has, map[string]bool{})
		b.ears.idle <- r
	}
	var listening sync.WaitGroup
	listening.Go(func() { b.ears.listen(out) })
	err = errors.Join(b.all(ctx, in), in.Close()) // the relayers leave
	listening.Wait()
	return b.figures, err
}

// run is one measurement.
type run struct {
	options
	hub     *hub
	ears    *ears
	figures []figure
}

func (b *run) found(what, format string, args ...any) {
	b.figures = append(b.figures, figure{what: what, value: fmt.Sprintf(format, args...)})
}

func (b *run) all(ctx context.Context, in io.Writer) error {
	empty, began := inUse(), time.Now()
	if err := b.each(ctx, b.namespaces, func(ctx context.Context, i int) error {
		_, err := b.hub.client.CreateNamespace(ctx, namespaceName(i), client.NewNamespace{})
		if e, ok := errors.AsType[*client.Error](err); ok && e.Code == notMade {
			return nil // the group knows it; its owner is at it, on a machine that has much else to do
		}
		return err
	}); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	b.found(fmt.Sprintf("%d namespaces made in", b.namespaces), "%v", time.Since(began).Round(time.Millisecond))
	made := inUse()
	b.found("hub's memory, of namespaces", "%.1f MiB", mib(made-empty))

	began = time.Now()
	if err := json.NewEncoder(in).Encode(order{b.hub.Addresses().GRPC, b.relayers, groups}); err != nil {
		return err
	}
	if err := b.ears.await(ctx, "all relayers have joined", func() bool { return b.ears.joined == b.relayers }); err != nil {
		return err
	}
	b.found(fmt.Sprintf("%d relayers joined in", b.relayers), "%v", time.Since(began).Round(time.Millisecond))
	if err := b.assignments(ctx); err != nil {
		return fmt.Errorf("the first assignments: %w", err)
	}
	attended := inUse()
	b.found("hub's memory, of sessions and assignments", "%.1f MiB (%.1f KiB a relayer)", mib(attended-made), float64(attended-made)/1024/float64(b.relayers))
	if err := b.profiled(func() error { return b.changes(ctx) }); err != nil {
		return err
	}
	b.found("hub's memory, all", "%.1f MiB", mib(inUse()))
	b.found("hub's resident memory", "%s", resident())
	return b.snapshot(ctx)
}

// each does something n times, several at once.
func (b *run) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// assignments gives every relayer what it has before the changes: some by itself, some by
// its label.
func (b *run) assignments(ctx context.Context) error {
	if err := b.each(ctx, groups*groupHas, func(ctx context.Context, i int) error {
		if i%groups >= b.relayers {
			return nil // nobody has the label
		}
		return b.hub.assign(ctx, assignment{Namespace: namespaceName(i), Selector: map[string]string{"group": fmt.Sprint(i % groups)}})
	}); err != nil {
		return err
	}
	if err := b.each(ctx, b.relayers*b.own, func(ctx context.Context, i int) error {
		r := i / b.own
		return b.hub.assign(ctx, assignment{Namespace: b.ownName(r, i%b.own), Relayer: relayerID(r)})
	}); err != nil {
		return err
	}
	return b.ears.await(ctx, "all relayers have what they were assigned", func() bool {
		return !slices.ContainsFunc(b.ears.has, func(has map[string]bool) bool { return len(has) != groupHas+b.own })
	})
}

// ownName is the k-th namespace that a relayer may be assigned by itself; no two are the same.
func (b *run) ownName(relayer, k int) string {
	const selected = groups * groupHas
	return namespaceName(selected + (relayer*b.own+k)%(b.namespaces-selected))
}

// changes gives relayers namespaces and takes them away at a rate, and waits until all of that
// has reached them. The time of a change begins when it is due, whatever the hub does then.
func (b *run) changes(ctx context.Context) error {
	extra := make([]string, b.relayers) // what a relayer has beyond its own
	g, making := errgroup.WithContext(ctx)
	cpu, began := cpuTime(), time.Now()
	n := int(b.duration.Seconds() * float64(b.rate))
	for i := range n {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(b.rate))
		if err := pause(making, time.Until(due)); err != nil {
			return errors.Join(err, g.Wait())
		}
		var r int
		select {
		case r = <-b.ears.idle:
		case <-making.Done():
			return errors.Join(making.Err(), g.Wait())
		}
		change, a := b.hub.unassign, assignment{Namespace: extra[r], Relayer: relayerID(r)}
		if gives := extra[r] == ""; gives {
			change, a.Namespace = b.hub.assign, b.ownName(r, b.own+rand.IntN(b.namespaces-groups*groupHas-b.own))
			extra[r] = a.Namespace
		} else {
			extra[r] = ""
		}
		b.ears.expect(r, a.Namespace, extra[r] != "", due)
		g.Go(func() error { return change(making, a) })
	}
	took, used := time.Since(began), cpuTime()-cpu
	if err := g.Wait(); err != nil {
		return fmt.Errorf("changes: %w", err)
	}
	if err := b.ears.await(ctx, "all changes have reached their relayers", func() bool { return len(b.ears.due) == 0 }); err != nil {
		return err
	}
	b.found("changes made", "%d in %v, %.0f/s", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	b.delays()
	b.found("hub's CPU meanwhile, with its driver", "%.0f %% of a core", 100*used.Seconds()/took.Seconds())
	return nil
}

// profiled does something under a CPU profile, where one is wanted.
func (b *run) profiled(do func() error) (err error) {
	if b.profile == "" {
		return do()
	}
	f, err := os.Create(b.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return do()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *run) delays() {
	b.ears.mu.Lock()
	defer b.ears.mu.Unlock()
	d := b.ears.delays
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[min(len(d)-1, int(q*float64(len(d))))] }
	b.found("change to relayer, p50", "%v", at(0.5).Round(time.Microsecond))
	p99 := at(0.99)
	b.figures = append(b.figures, figure{
		what: "change to relayer, p99", value: p99.Round(time.Microsecond).String(), budget: "< " + reachLimit.String(), met: p99 < reachLimit,
	})
	b.found("change to relayer, the slowest", "%v", d[len(d)-1].Round(time.Microsecond))
}

// snapshot says what the group's state takes on a disk.
func (b *run) snapshot(ctx context.Context) error {
	size, err := b.hub.client.SaveSnapshot(ctx, io.Discard)
	if err != nil {
		return fmt.Errorf("the snapshot: %w", err)
	}
	b.found("snapshot of the group's state", "%.1f KiB", float64(size)/1024)
	return nil
}

// inUse is heap and stacks, once the garbage is gone and the stacks have shrunk,
// which takes a collection for each halving.
func inUse() int64 {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// resident is what this process has in memory.
func resident() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "not known here"
	}
	for line := range strings.Lines(string(b)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(kib)
		}
	}
	return "not known here"
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
