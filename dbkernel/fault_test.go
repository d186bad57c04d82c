package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// faultRun writes keys and knows which were acknowledged, which were refused
// and of which the outcome is open.
type faultRun struct {
	db *DB
	n  *Namespace

	mu      sync.Mutex
	next    int
	acked   map[string]string
	refused map[string]bool
	unknown map[string]string
}

func faultOptions(fsys vfs.FS) Options {
	return Options{
		Dir: "/data", FS: fsys, Logger: hclog.NewNullLogger(), Clock: func() time.Time { return crashTime },
		Defaults: NamespaceOptions{Storage: StorageOptions{Engine: EngineMemory, SegmentSize: MinSegmentSize, MemtableSize: MinMemtableSize}},
	}
}

func newFaultRun(t *testing.T, o Options) *faultRun {
	t.Helper()
	r := &faultRun{acked: map[string]string{}, refused: map[string]bool{}, unknown: map[string]string{}}
	var err error
	if r.db, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if r.n, err = r.db.Create("test", Lineage{1}); err != nil {
		t.Fatal(err)
	}
	if s := r.n.Status(); s.State != StateServing { // opens it
		t.Fatalf("%+v", s)
	}
	return r
}

// put writes the next key and notes the outcome.
func (r *faultRun) put() error {
	r.mu.Lock()
	r.next++
	i := r.next
	r.mu.Unlock()
	key, value := fmt.Sprintf("key/%05d", i), fmt.Sprintf("%d %0*d", i, 500+i*37%3000, i)
	_, err := r.n.Write(context.Background(), batchOf([]edit{{kind: editPut, key: key, value: []byte(value)}}))
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.acked[key] = value
	case errors.Is(err, ErrOutcomeUnknown):
		r.unknown[key] = value
	default:
		r.refused[key] = true
	}
	return err
}

// check compares the namespace with what is known.
func (r *faultRun) check(n *Namespace) error {
	v, err := n.View()
	if err != nil {
		return err
	}
	defer v.Close()
	found := 0
	for key, value := range r.acked {
		got, err := v.Get([]byte(key))
		if err != nil || string(got.Data) != value {
			return fmt.Errorf("%s was acknowledged and is %.20q, %w", key, got.Data, err)
		}
		found++
	}
	for key, value := range r.unknown {
		got, err := v.Get([]byte(key))
		if err == nil && string(got.Data) == value {
			found++
		} else if !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%s is %.20q, %w", key, got.Data, err)
		}
	}
	page, err := v.Scan(Scan{KeysOnly: true, Prefix: []byte("key/")})
	if err == nil && (len(page.Items) != found || page.More) {
		err = fmt.Errorf("%d keys are there, %d were acknowledged or may be", len(page.Items), found)
	}
	return err
}

// reopen opens the database on another file system and checks all of it; then
// it must take writes. It answers the last LSN that it showed at first.
func (r *faultRun) reopen(fsys vfs.FS) (last uint64, err error) {
	db, err := Open(faultOptions(fsys))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n, err := db.Namespace("test")
	if err != nil {
		return 0, err
	}
	if s := n.Status(); s.State != StateServing {
		return 0, fmt.Errorf("state %s: %s", s.State, s.Reason)
	}
	last = n.Status().LSN
	if err := r.check(n); err != nil {
		return last, err
	}
	if _, err := n.Write(context.Background(), batchOf([]edit{{kind: editPut, key: "after", value: []byte("it")}})); err != nil {
		return last, fmt.Errorf("writing after it: %w", err)
	}
	return last, sound(n)
}

// TestSyncErrorFreezes fails one fsync after another, each in a run of its own.
// The namespace takes no more writes, goes on answering reads, and is whole
// after a restart: at once, or after the power was cut, too.
func TestSyncErrorFreezes(t *testing.T) {
	const runs = 60
	for nth := 1; nth <= runs; nth++ {
		rng := rand.New(rand.NewPCG(uint64(nth), 5))
		var armed atomic.Bool
		var syncs, failed atomic.Int64
		var what atomic.Pointer[string]
		mem := vfs.NewMem()
		fsys := vfs.WithFaults(mem, vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
			if !armed.Load() || !o.Kind.IsSync() || syncs.Add(1) != int64(nth) {
				return nil
			}
			name := o.String()
			what.Store(&name)
			failed.Add(1)
			return &vfs.Fault{Err: syscall.EIO}
		}})
		var events []Event
		var mu sync.Mutex
		o := faultOptions(fsys)
		o.OnEvent = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}
		r := newFaultRun(t, o)
		armed.Store(true)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for range 200 {
					if err := r.put(); err != nil {
						if !errors.Is(err, ErrFrozen) {
							t.Errorf("failing sync %d: a writer was told %v", nth, err)
						}
						return
					}
				}
			})
		}
		wg.Wait()
		if failed.Load() == 0 {
			t.Fatalf("there was no sync %d: the test has to write more", nth)
		}
		name := *what.Load()
		if s := r.n.Status(); s.State != StateFrozen || s.Code == "" || s.Reason == "" {
			t.Errorf("failing %s: %+v, expected frozen", name, s)
		}
		if err := r.put(); !errors.Is(err, ErrFrozen) || errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("failing %s: writing to a frozen namespace: %v", name, err)
		}
		if err := r.check(r.n); err != nil && len(r.unknown) == 0 {
			t.Errorf("failing %s: reading while frozen: %v", name, err)
		}
		mu.Lock()
		if len(events) == 0 {
			t.Errorf("failing %s: no event", name)
		}
		mu.Unlock()
		cut := mem.Crash(rng, vfs.AnyCrash(rng))
		if err := r.db.Close(); err != nil {
			t.Logf("failing %s: closing: %v", name, err) // it may say what it couldn't write
		}
		if _, err := r.reopen(cut); err != nil {
			t.Errorf("failing %s, power cut: %v", name, err)
		}
		last, err := r.reopen(mem)
		if err != nil {
			t.Errorf("failing %s, restart: %v", name, err)
		}
		// The system took the lost pages for written. What the restart has shown must
		// survive all the same.
		if again, err := r.reopen(mem.Crash(rng, vfs.CrashOptions{})); err != nil || again < last {
			t.Errorf("failing %s, restart and power cut: LSN %d was shown, the log ends at %d: %v", name, last, again, err)
		}
	}
}

// TestAPanicInACommitEndsTheProcess: even where whoever writes would recover from it.
func TestAPanicInACommitEndsTheProcess(t *testing.T) {
	const asked = "UNISONDB_TEST_PANIC_IN_A_COMMIT"
	if os.Getenv(asked) != "" {
		var armed atomic.Bool
		fsys := vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
			if o.Kind == vfs.OpSyncData && armed.Load() {
				panic("planted")
			}
			return nil
		}})
		r := newFaultRun(t, faultOptions(fsys))
		putKey(t, r.n, "k", "old")
		armed.Store(true)
		func() {
			defer func() { _ = recover() }() // as a door does
			_, _ = r.n.Write(context.Background(), batchOf([]edit{{kind: editPut, key: "k", value: []byte("new")}}))
		}()
		os.Exit(0)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestAPanicInACommitEndsTheProcess$")
	child.Env = append(os.Environ(), asked+"=1")
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !bytes.Contains(out, []byte("commit: planted")) {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestALeaderCommitsItsOwnGroup: a writer who commits for want of a committer has its answer
// when its own group is synced, however long those that queued up meanwhile take.
func TestALeaderCommitsItsOwnGroup(t *testing.T) {
	type held struct{ reached, release chan struct{} }
	var syncs [2]held
	for i := range syncs {
		syncs[i] = held{make(chan struct{}), make(chan struct{})}
	}
	var next atomic.Int32
	next.Store(int32(len(syncs)))
	fsys := vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		if o.Kind != vfs.OpSyncData {
			return nil
		}
		if i := int(next.Add(1)) - 1; i < len(syncs) {
			close(syncs[i].reached)
			<-syncs[i].release
		}
		return nil
	}})
	r := newFaultRun(t, faultOptions(fsys))
	defer func() {
		if err := r.db.Close(); err != nil {
			t.Error(err)
		}
	}()
	putKey(t, r.n, "k", "old")

	next.Store(0)
	write := func(key string) <-chan error {
		wrote := make(chan error, 1)
		go func() {
			_, err := r.n.Write(context.Background(), batchOf([]edit{{kind: editPut, key: key, value: []byte("new")}}))
			wrote <- err
		}()
		return wrote
	}
	answered := func(who string, wrote <-chan error) {
		t.Helper()
		select {
		case err := <-wrote:
			if err != nil {
				t.Errorf("%s: %v", who, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s has no answer", who)
		}
	}
	first := write("first")
	<-syncs[0].reached
	second := write("second")
	eventually(t, "a second writer in the queue", func() bool { return r.n.queue.len() == 1 })
	close(syncs[0].release)
	<-syncs[1].reached
	answered("the first writer", first)
	if v, _, err := r.n.Get([]byte("second")); !errors.Is(err, ErrNotFound) {
		t.Errorf("what isn't synced is seen: %q, %v", v.Data, err)
	}
	close(syncs[1].release)
	answered("the second writer", second)
}

// TestUnseenUntilSynced holds a group's sync up. The group is in the memtable by then,
// and nobody may see it; nor may anybody, or the B+tree, once the sync has failed.
func TestUnseenUntilSynced(t *testing.T) {
	for _, outcome := range []error{nil, syscall.EIO} {
		t.Run(fmt.Sprint(outcome), func(t *testing.T) {
			var armed atomic.Bool
			reached, release := make(chan struct{}), make(chan struct{})
			fsys := vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
				if o.Kind != vfs.OpSyncData || !armed.CompareAndSwap(true, false) {
					return nil
				}
				close(reached)
				<-release
				if outcome == nil {
					return nil
				}
				return &vfs.Fault{Err: outcome}
			}})
			r := newFaultRun(t, faultOptions(fsys))
			defer func() { _ = r.db.Close() }() // a frozen namespace may say what it couldn't write
			putKey(t, r.n, "k", "old")
			before := r.n.Status()

			armed.Store(true)
			// Two writers in one group: one alone is applied behind its sync.
			wrote, begun, gather := make(chan error, 2), make(chan struct{}), make(chan struct{})
			go func() {
				wrote <- r.n.inCommitter(t.Context(), func() {
					close(begun)
					<-gather
				})
			}()
			<-begun
			for _, key := range []string{"k", "other"} {
				go func() {
					_, err := r.n.Write(context.Background(), batchOf([]edit{{kind: editPut, key: key, value: []byte("new")}}))
					wrote <- err
				}()
			}
			eventually(t, "two writers in the queue", func() bool { return r.n.queue.len() == 2 })
			close(gather)
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			<-reached
			key := codec.KVKey([]byte("k"))
			for r.n.mems.Load().active().Newest(key).LSN == before.LSN {
				runtime.Gosched()
			}
			unseen := func(when string) {
				t.Helper()
				if v, at, err := r.n.Get([]byte("k")); err != nil || string(v.Data) != "old" || at.LSN != before.LSN {
					t.Errorf("%s: get: %q at %v, %v", when, v.Data, at, err)
				}
				if s := r.n.Status(); s.CommitLSN != before.CommitLSN || s.DurableLSN != before.DurableLSN {
					t.Errorf("%s: %+v, before the write %+v", when, s, before)
				}
			}
			unseen("while it is being synced")
			close(release)
			err := errors.Join(<-wrote, <-wrote)
			if outcome == nil {
				if v, _, getErr := r.n.Get([]byte("k")); err != nil || getErr != nil || string(v.Data) != "new" {
					t.Fatalf("after the sync: write %v, get %q, %v", err, v.Data, getErr)
				}
				return
			}
			if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, ErrFrozen) {
				t.Errorf("the writer was told %v", err)
			}
			unseen("after the sync failed")
			if end, err := r.n.SnapshotEnd(t.Context()); !errors.Is(err, ErrFrozen) {
				t.Errorf("the end of a snapshot, with the group in the memtable: %+v, %v", end, err)
			}
			point := r.n.point.Load().LSN
			if err := r.n.Flush(t.Context()); !errors.Is(err, ErrFrozen) {
				t.Errorf("flush of a frozen namespace: %v", err)
			}
			if at := r.n.point.Load().LSN; at != point {
				t.Errorf("the tree has come from LSN %d to %d", point, at)
			}
		})
	}
}

// TestDiskFull runs out of space at many places. Writers are told, readers
// notice nothing, and once there is space again everything goes on.
func TestDiskFull(t *testing.T) {
	for extra := int64(0); extra < 700<<10; extra += 9 << 10 {
		t.Run(fmt.Sprintf("%dKiB", extra>>10), func(t *testing.T) {
			mem := vfs.NewMem()
			r := newFaultRun(t, faultOptions(mem))
			mem.SetCapacity(mem.Used() + extra)
			var err error
			for err == nil && r.next < 1000 {
				err = r.put()
			}
			if !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrOutcomeUnknown) {
				t.Fatalf("write %d: %v, expected ErrDiskFull", r.next, err)
			}
			for range 5 {
				if err := r.put(); err != nil && !errors.Is(err, ErrDiskFull) {
					t.Fatalf("write %d on a full disk: %v", r.next, err)
				}
			}
			if err := r.n.Flush(context.Background()); err != nil && !errors.Is(err, ErrDiskFull) {
				t.Fatalf("flush on a full disk: %v", err)
			}
			if err := r.check(r.n); err != nil {
				t.Fatalf("reading on a full disk: %v", err)
			}
			if s := r.n.Status(); s.State != StateServing {
				t.Fatalf("on a full disk: %+v", s)
			}
			// A power cut now loses nothing either.
			if _, err := r.reopen(mem.Crash(rand.New(rand.NewPCG(uint64(extra), 6)), vfs.CrashOptions{Keep: 0.5})); err != nil {
				t.Fatalf("power cut on a full disk: %v", err)
			}
			mem.SetCapacity(-1)
			if err := r.n.Flush(context.Background()); err != nil {
				t.Fatalf("flush with space again: %v", err)
			}
			for range 40 {
				if err := r.put(); err != nil {
					t.Fatalf("write %d with space again: %v", r.next, err)
				}
			}
			if err := r.check(r.n); err != nil {
				t.Fatal(err)
			}
			checkSound(t, r.n)
			if err := r.db.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.reopen(mem); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOpenOnFullDisk starts where there is room for what recovery needs, a new
// segment with the log's tail, and for the copy of the tree that the memory
// engine makes, but for little more: reads are answered.
func TestOpenOnFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	r := newFaultRun(t, faultOptions(mem))
	for range 60 {
		if err := r.put(); err != nil {
			t.Fatal(err)
		}
	}
	disk := mem.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{})
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	tree, err := disk.Stat("/data/namespaces/test/db/data.mem")
	if err != nil {
		t.Fatal(err)
	}
	disk.SetCapacity(disk.Used() + tree.Size() + 2*MinSegmentSize)
	db, err := Open(faultOptions(disk))
	if err != nil {
		t.Fatal(err)
	}
	n, err := db.Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.check(n); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	r.n = n
	for err == nil && r.next < 1000 {
		err = r.put()
	}
	if !errors.Is(err, ErrDiskFull) {
		t.Errorf("writing on a full disk: %v", err)
	}
	disk.SetCapacity(-1)
	if err := r.put(); err != nil {
		t.Errorf("writing with space again: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
