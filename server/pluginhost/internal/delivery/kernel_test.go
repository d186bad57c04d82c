package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testWriter sends the log to the test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

func testLogger(t testing.TB) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: testWriter{t}})
}

// openKernel opens a database in memory with an empty namespace of each name.
func openKernel(t testing.TB, fsys vfs.FS, names ...string) *dbkernel.DB {
	t.Helper()
	db, err := dbkernel.Open(dbkernel.Options{
		Dir: "/data", FS: fsys, Logger: testLogger(t),
		Defaults: dbkernel.NamespaceOptions{Storage: dbkernel.StorageOptions{Engine: dbkernel.EngineMemory}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	for _, name := range names {
		if _, err := db.Create(name, dbkernel.Lineage{}); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func namespace(t testing.TB, s Source, name string) *dbkernel.Namespace {
	t.Helper()
	n, err := s.Namespace(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// putKeys writes keys in one record.
func putKeys(t testing.TB, n *dbkernel.Namespace, keys ...string) dbkernel.Position {
	t.Helper()
	var b dbkernel.Batch
	for _, key := range keys {
		if err := b.Put([]byte(key), []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
	}
	p, err := n.Write(context.Background(), &b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// receiver is a target that keeps what it accepts, and answers as it is told to.
type receiver struct {
	mu       sync.Mutex
	answer   func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) // nil: accepts all
	accepted []*pluginv1.Event
	calls    int
	changed  chan struct{} // closed at each call's end
}

func newReceiver() *receiver { return &receiver{changed: make(chan struct{})} }

func (r *receiver) Notify(_ context.Context, q *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	a := &pluginv1.NotifyResponse{}
	if answer != nil {
		var err error
		if a, err = answer(q); err != nil {
			r.note(nil)
			return nil, err
		}
	}
	rejected := map[int]bool{}
	for _, j := range a.Rejected {
		rejected[int(j.Event)] = true
	}
	var accepted []*pluginv1.Event
	for i, e := range q.Events {
		if !rejected[i] {
			accepted = append(accepted, e)
		}
	}
	r.note(accepted)
	return a, nil
}

func (r *receiver) note(accepted []*pluginv1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.accepted = append(r.accepted, accepted...)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *receiver) answers(fn func(r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

// got is what was accepted, one word an event.
func (r *receiver) got() (words []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.accepted {
		words = append(words, word(e))
	}
	return words
}

func word(e *pluginv1.Event) string {
	op := map[pluginv1.Operation]string{1: "put", 2: "delete", 3: "delete_row", 4: "expire", 5: "reset"}[e.Operation]
	if e.Operation == pluginv1.Operation_OPERATION_RESET {
		return op
	}
	s := fmt.Sprintf("%s %s", op, e.Key)
	if len(e.Columns) > 0 {
		s += fmt.Sprint(e.Columns)
	}
	return s
}

// until waits until what was accepted is so many events.
func (r *receiver) until(t testing.TB, events int) []string {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		r.mu.Lock()
		n, changed := len(r.accepted), r.changed
		r.mu.Unlock()
		if n >= events {
			return r.got()
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d events came, expected %d: %q", n, events, r.got())
		}
	}
}

// start runs a pump, and answers what ends it and waits for that.
func start(t testing.TB, p *Pump) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}

func newDeadLetters(t testing.TB, fsys vfs.FS) *DeadLetters {
	t.Helper()
	d, err := OpenDeadLetters(DeadLetterOptions{Name: "web", Path: "/data/notifiers/web/dead-letters.jsonl", FS: fsys, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// kernelOptions are of a pump with a cursor in the namespace orders of a kernel.
func kernelOptions(t testing.TB, db *dbkernel.DB, target Target) Options {
	return Options{
		Name: "web", Namespace: "orders", Source: db, Target: OneAtATime(target), StartFrom: FromOldest,
		Cursor: CellCursor(db, "orders", "web"), DeadLetters: newDeadLetters(t, vfs.NewMem()), Logger: testLogger(t),
	}
}

func mustPump(t testing.TB, o Options) *Pump {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func equal(t testing.TB, got []string, want ...string) {
	t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

func TestDeliversFromTheKernel(t *testing.T) {
	db := openKernel(t, vfs.NewMem(), "orders")
	n := namespace(t, db, "orders")
	putKeys(t, n, "a", "b")
	r := newReceiver()
	stop := start(t, mustPump(t, kernelOptions(t, db, r)))
	r.until(t, 2)
	putKeys(t, n, "c")
	equal(t, r.until(t, 3), "put a", "put b", "put c")
	stop()

	// Another pump goes on behind what was accepted.
	putKeys(t, n, "d")
	r = newReceiver()
	start(t, mustPump(t, kernelOptions(t, db, r)))
	equal(t, r.until(t, 1), "put d")
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: it didn't come to that", what)
		}
	}
}

func TestDeliversAllKindsOfChanges(t *testing.T) {
	db := openKernel(t, vfs.NewMem(), "orders")
	n := namespace(t, db, "orders")
	ctx := context.Background()
	_, err := n.Update(ctx, func(tx *dbkernel.Tx) error {
		return errors.Join(tx.Put([]byte("k"), nil, 0), tx.PutRow([]byte("r"), map[string][]byte{"b": nil, "a": nil}, 0), tx.PutModel("vector", []byte("v"), nil))
	})
	if err == nil {
		_, _, err = n.PutObject(ctx, []byte("o"), strings.NewReader("object"), 0, dbkernel.Cond{})
	}
	if err == nil {
		_, err = n.Update(ctx, func(tx *dbkernel.Tx) error { return tx.DeleteRow([]byte("r")) })
	}
	if err != nil {
		t.Fatal(err)
	}
	r := newReceiver()
	start(t, mustPump(t, kernelOptions(t, db, r)))
	got := r.until(t, 5)
	slices.Sort(got[:3])
	equal(t, got, "put k", "put r[a b]", "put v", "put o", "delete_row r")
	for _, e := range r.accepted {
		if e.Epoch == 0 || e.TimeUnixNano == 0 || e.Count == 0 || e.EntryType == "" {
			t.Errorf("%v", e)
		}
	}
}

// The handle is superseded under the pump, twice: by a copy that is the same, and by
// one that is cut off.
func TestTruncationInTheKernel(t *testing.T) {
	disk := vfs.NewMem()
	db := openKernel(t, disk, "orders")
	n := namespace(t, db, "orders")
	at := putKeys(t, n, "a")
	putKeys(t, n, "b")
	r := newReceiver()
	o := kernelOptions(t, db, r)
	o.Cursor = FileCursor(vfs.NewMem(), "/n/web/orders.json")
	p := mustPump(t, o)
	start(t, p)
	r.until(t, 2)
	if _, err := db.Truncate(context.Background(), "orders", at.LSN, "test"); err != nil {
		t.Fatal(err)
	}
	putKeys(t, namespace(t, db, "orders"), "c")
	equal(t, r.until(t, 5), "put a", "put b", "reset", "put a", "put c")
	if s := p.Status(); s.CursorsLost != 1 {
		t.Errorf("status %+v", s)
	}
}

// The cell is read by whoever comes next, and it never counts as a change.
func TestCursorInTheNamespace(t *testing.T) {
	db := openKernel(t, vfs.NewMem(), "orders")
	n := namespace(t, db, "orders")
	r := newReceiver()
	p := mustPump(t, kernelOptions(t, db, r))
	stop := start(t, p)
	last := putKeys(t, n, "a", "b")
	r.until(t, 2)
	eventually(t, "the cursor is durable", func() bool { return p.Status().Saved.LSN >= last.LSN })
	eventually(t, "its own record is passed", func() bool { s := p.Status(); return s.LagRecords == 0 && s.Saved == s.Cursor })
	end := n.Status().LSN
	stop()
	if got := n.Status().LSN; got != end {
		t.Errorf("the clean stop wrote %d records, and nothing was accepted", got-end)
	}
	c, there, err := CellCursor(db, "orders", "web").Load(context.Background())
	if err != nil || !there || c.LSN < last.LSN {
		t.Errorf("%+v, %v, %v", c, there, err)
	}
}

// A snapshot of a real tree, taken while it is written to, and the log behind it.
func TestSnapshotFromTheKernel(t *testing.T) {
	db := openKernel(t, vfs.NewMem(), "orders")
	n := namespace(t, db, "orders")
	want := map[string]bool{}
	for i := range 500 {
		key := fmt.Sprintf("key-%03d", i)
		putKeys(t, n, key)
		want[key] = true
	}
	if err := n.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r := newReceiver()
	writes := 0
	r.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
		if writes++; writes < 20 {
			putKeys(t, n, fmt.Sprintf("key-%03d", 490), fmt.Sprintf("new-%03d", writes))
		}
		return &pluginv1.NotifyResponse{}, nil
	})
	o := kernelOptions(t, db, r)
	o.StartFrom, o.MaxBatch = FromSnapshot, 50
	p := mustPump(t, o)
	start(t, p)
	eventually(t, "all came", func() bool { s := p.Status(); return s.State == StateFollowing && s.LagRecords == 0 && s.Pending == 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	last := map[string]uint64{}
	for _, e := range r.accepted[1:] {
		if e.Lsn < last[string(e.Key)] {
			t.Errorf("%s came at LSN %d behind LSN %d", e.Key, e.Lsn, last[string(e.Key)])
		}
		last[string(e.Key)] = e.Lsn
	}
	for key := range want {
		if last[key] == 0 {
			t.Errorf("%s never came", key)
		}
	}
	if last["new-019"] == 0 || r.accepted[0].Operation != pluginv1.Operation_OPERATION_RESET {
		t.Error("the log behind the snapshot never came")
	}
}

// Several pumps of one notifier work side by side, and a retry takes its turn.
func TestOneAtATime(t *testing.T) {
	var mu sync.Mutex
	inside := map[string]int{}
	o := OneAtATime(targetFunc(func(_ context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
		mu.Lock()
		if inside[r.Namespace]++; inside[r.Namespace] > 1 {
			t.Error("two batches of a namespace at once")
		}
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		inside[r.Namespace]--
		mu.Unlock()
		return &pluginv1.NotifyResponse{}, nil
	}))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				if _, err := o.Notify(context.Background(), &pluginv1.NotifyRequest{Namespace: fmt.Sprint(i % 2)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
