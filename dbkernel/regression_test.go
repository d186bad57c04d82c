package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// Each test here failed before a bug was fixed, and says which one.

// withoutHousekeeping ends the database's own rounds, so that a test makes them.
func withoutHousekeeping(db *DB) {
	db.stop()
	db.wg.Wait()
}

// holdCommitter keeps the committer busy until release is called.
func holdCommitter(t *testing.T, n *Namespace) (release func()) {
	t.Helper()
	entered, gate := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- n.inCommitter(context.Background(), func() {
			close(entered)
			<-gate
		})
	}()
	<-entered
	return func() {
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// waitQueued waits until so many requests wait for the committer.
func waitQueued(t *testing.T, n *Namespace, want int) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		n.queue.mu.Lock()
		got := len(n.queue.waiting)
		n.queue.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%d requests are queued, expected %d", got, want)
		}
	}
}

func newReplicaOf(t *testing.T, owner *Namespace, fsys vfs.FS) *Namespace {
	t.Helper()
	o := testOptions(t, fsys)
	o.Defaults.Replica = true
	r, err := openDB(t, o).Create("test", owner.Status().Lineage)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// recordsOf reads the log up to an LSN, one record in each slice.
func recordsOf(t *testing.T, n *Namespace, last uint64) (records [][]byte) {
	t.Helper()
	tail, err := n.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for uint64(len(records)) < last {
		run, err := tail.Next(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, run.Records...)
	}
	return records
}

// A write that a replica refused had begun an epoch, and the owner's record in
// the same group was acknowledged and lost.
func TestRefusedWriteLeavesReplicaAlone(t *testing.T) {
	owner := newTestNS(t)
	putKey(t, owner, "a", "1")
	putKey(t, owner, "b", "2")
	records := recordsOf(t, owner, 3)
	r := newReplicaOf(t, owner, vfs.NewMem())
	ctx := context.Background()
	if err := r.Append(ctx, records[:2], 2); err != nil {
		t.Fatal(err)
	}
	release := holdCommitter(t, r)
	wrote, appended := make(chan error, 1), make(chan error, 1)
	var b Batch
	if err := b.Put([]byte("x"), []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := r.Write(ctx, &b)
		wrote <- err
	}()
	waitQueued(t, r, 1)
	go func() { appended <- r.Append(ctx, records[2:], 3) }()
	waitQueued(t, r, 2)
	release()
	if err := <-wrote; !errors.Is(err, ErrReadOnly) {
		t.Errorf("the write: %v", err)
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	wantKey(t, r, "b", "2")
	if got, want := r.EpochTable(), owner.EpochTable(); len(got) != 1 || got[0] != want[0] {
		t.Errorf("epochs %v, the owner has %v", got, want)
	}
}

// More memtables than writers may be ahead, after recovery, and something due:
// housekeeping waited for the committer, which waited for a flush that only
// housekeeping would have started.
func TestRecoveryWithManyMemtablesGoesOn(t *testing.T) {
	disk := vfs.NewMem()
	if err := errors.Join(disk.MkdirAll("/data"), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	clock := newFakeClock()
	o := testOptions(t, disk)
	o.Clock = clock.Now
	db := openDB(t, o)
	n := createNS(t, db, "test")
	var b Batch
	if err := b.Put([]byte("due"), []byte("v"), time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		putKey(t, n, fmt.Sprintf("k%d", i), string(make([]byte, 2000)))
	}
	o.FS = disk.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{})
	o.Defaults.Storage.MemtableSize = MinMemtableSize
	clock.Advance(time.Minute)
	recovered := openDB(t, o)
	withoutHousekeeping(recovered)
	if n, err := recovered.Namespace("test"); err != nil {
		t.Fatal(err)
	} else if s := n.Status(); s.State != StateServing {
		t.Fatalf("%+v", s)
	} else {
		putKey(t, n, "x", "y")
		n.expireDue(context.Background(), clock.Now().UnixNano())
		wantNoKey(t, n, "due")
	}
}

// Aborting a transaction of a closed or idle namespace crashed.
func TestAbortAfterClose(t *testing.T) {
	db, err := Open(testOptions(t, vfs.NewMem()))
	if err != nil {
		t.Fatal(err)
	}
	n := createNS(t, db, "test")
	tx, err := n.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.AppendObject(context.Background(), []byte("o"), bytes.NewReader(make([]byte, 3<<20))); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Abort(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("abort: %v", err)
	}
}

type stalledReader struct{ entered, gate chan struct{} }

func (r stalledReader) Read([]byte) (int, error) {
	close(r.entered)
	<-r.gate
	return 0, io.EOF
}

// A client that stalled in the middle of an upload held up all housekeeping,
// and its transaction expired while it was still being sent.
func TestStalledUploadHoldsUpNothing(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	db := openDB(t, o)
	withoutHousekeeping(db)
	n := createNS(t, db, "test")
	tx, err := n.Begin()
	if err != nil {
		t.Fatal(err)
	}
	r := stalledReader{make(chan struct{}), make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- tx.AppendObject(context.Background(), []byte("o"), r) }()
	<-r.entered
	clock.Advance(2 * txIdle)
	n.expireTransactions(clock.Now()) // returns
	close(r.gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := n.Transaction(tx.ID()); err != nil {
		t.Errorf("right after the upload: %v", err)
	}
	if err := tx.Abort(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// A new engine in the configuration took effect when the namespace was opened
// again, on an empty tree.
func TestConfigureKeepsTheEngineOfAnOpenNamespace(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.OS())
	o.Dir, o.Clock = t.TempDir(), clock.Now
	o.Defaults.Storage.Engine = EngineBolt
	db := openDB(t, o)
	withoutHousekeeping(db)
	n := createNS(t, db, "test")
	putKey(t, n, "a", "1")
	if err := db.Configure("test", NamespaceOptions{Storage: StorageOptions{Engine: EngineMemory}, Quota: Quota{MaxBytes: 5}}); err != nil {
		t.Fatal(err)
	}
	idleOut(t, n, clock)
	wantKey(t, n, "a", "1")
	if got := n.opts.Load().Quota.MaxBytes; got != 5 {
		t.Errorf("the new quota is %d", got)
	}
}

// A tail that had read from disk never closed its file.
func TestTailClosesItsFile(t *testing.T) {
	if _, err := os.ReadDir("/proc/self/fd"); err != nil {
		t.Skip("needs /proc")
	}
	o := testOptions(t, vfs.OS())
	o.Dir = t.TempDir()
	o.Defaults.Storage.SegmentSize = MinSegmentSize
	n := createNS(t, openDB(t, o), "test")
	for i := range 400 {
		putKey(t, n, fmt.Sprintf("k%d", i), string(make([]byte, 2000)))
	}
	n.ring.Store(nil) // as after an idle release
	segments := func() (open int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(to, o.Dir) {
				open++
			}
		}
		return open
	}
	before := segments()
	for i := range 8 {
		tail, err := n.Tail("test", uint64(1+i*50))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tail.Next(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		tail.Close()
	}
	if got := segments(); got > before {
		t.Errorf("%d files are open, %d before eight tails came and went", got, before)
	}
}

// A replica on a full disk was frozen when the record of an epoch came.
func TestReplicaOutlivesFullDiskAtAnEpoch(t *testing.T) {
	owner := newTestNS(t)
	putKey(t, owner, "a", "1")
	records := recordsOf(t, owner, 2)
	full := true
	fsys := vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		if full && op.Kind == vfs.OpCreate && filepath.Base(op.Path) == metaName+".tmp" && !strings.Contains(op.Path, newPrefix) {
			return &vfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	}})
	r := newReplicaOf(t, owner, fsys)
	if err := r.Append(context.Background(), records, 2); err != nil {
		t.Fatalf("on a full disk, with room in the log: %v", err)
	}
	full = false
	putKey(t, owner, "b", "2")
	if err := r.Append(context.Background(), recordsOf(t, owner, 3), 3); err != nil {
		t.Fatal(err)
	}
	wantKey(t, r, "b", "2")
	if m, err := readMeta(fsys, r.dir); err != nil || len(m.Epochs) != 1 {
		t.Errorf("meta.json has epochs %v, %v", m.Epochs, err)
	}
}

// An upload in a transaction that broke off left its part; the client's second
// try came behind it.
func TestBrokenUploadEndsItsTransaction(t *testing.T) {
	n := newTestNS(t)
	tx, err := n.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	broken := io.MultiReader(strings.NewReader("hel"), errReader{})
	if err := tx.AppendObject(ctx, []byte("o"), broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the broken upload: %v", err)
	}
	if err := tx.AppendObject(ctx, []byte("o"), strings.NewReader("hello")); !errors.Is(err, ErrTxNotFound) {
		t.Errorf("another upload: %v", err)
	}
	if _, _, err := tx.Commit(ctx); !errors.Is(err, ErrTxNotFound) {
		t.Errorf("commit: %v", err)
	}
}

// The first thing that a slow scan found was left out, and the scan ended.
func TestLatePageHasSomething(t *testing.T) {
	p := pager{limit: 10, deadline: time.Now().Add(-time.Second)}
	if p.late() || !p.fits(1) {
		t.Error("the first item is left out")
	}
	if !p.late() {
		t.Error("the second item is not late")
	}
}

// A row's puts outlive its delete in the same record, so a batch that has them
// the other way round was wrong.
func TestBatchRefusesToDeleteARowItPuts(t *testing.T) {
	var b Batch
	if err := b.PutRow([]byte("r"), map[string][]byte{"c": nil}, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteRow([]byte("r")); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// A ttl of centuries overflowed and the key was gone at once.
func TestLongTTLIsRefused(t *testing.T) {
	var b Batch
	if err := b.Put([]byte("k"), nil, 2_500_000*time.Hour); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// A transaction with many objects, each smaller than a chunk, could not commit.
func TestManySmallObjectsInATransaction(t *testing.T) {
	n := newTestNS(t)
	ctx := context.Background()
	tx, err := n.Begin()
	if err != nil {
		t.Fatal(err)
	}
	const objects, size = 24, MaxChunkLen - 1
	for i := range objects {
		if err := tx.AppendObject(ctx, fmt.Append(nil, i), bytes.NewReader(randomBytes(uint64(i), size))); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		r, err := n.OpenObject(fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, randomBytes(uint64(i), size)) {
			t.Fatalf("object %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// A replica flushed at its own full memtable and again at the mark behind it.
func TestReplicaFlushesAtTheOwnersMarks(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Storage.MemtableSize = MinMemtableSize
	owner := createNS(t, openDB(t, o), "test")
	o = testOptions(t, vfs.NewMem())
	o.Defaults.Storage.MemtableSize = MinMemtableSize
	o.Defaults.Replica = true
	r, err := openDB(t, o).Create("test", owner.Status().Lineage)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	tail, err := owner.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for i := range 500 {
		pos := putKey(t, owner, fmt.Sprintf("k%d", i), string(make([]byte, 2000)))
		for r.CommitLSN() < pos.LSN {
			run, err := tail.Next(ctx, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Append(ctx, run.Records, run.Commit); err != nil {
				t.Fatal(err)
			}
		}
	}
	flush(t, owner)
	flush(t, r)
	if a, b := owner.counters.flushes.Load(), r.counters.flushes.Load(); b > a+1 {
		t.Errorf("the owner flushed %d times, the replica %d times", a, b)
	}
}

// A database that closed while another one of the process was open left the
// crash note behind, and none could be opened afterwards.
func TestTwoDatabasesOfAProcess(t *testing.T) {
	open := func() (*DB, *Namespace) {
		o := testOptions(t, vfs.OS())
		o.Dir, o.GuardCrashes, o.Defaults.Storage.Engine = t.TempDir(), true, ""
		db, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		n := createNS(t, db, "test")
		putKey(t, n, "k", "v")
		return db, n
	}
	first, _ := open()
	second, n := open()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	wantKey(t, n, "k", "v")
	third, _ := open()
	for _, db := range []*DB{third, second} {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What was lost was called unavailable, or looked for again at every request.
func TestMissingFilesAreMissed(t *testing.T) {
	for _, lost := range []string{metaName, walDir} {
		fsys := vfs.NewMem()
		o := testOptions(t, fsys)
		db, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		n := createNS(t, db, "test")
		putKey(t, n, "k", "v")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := fsys.RemoveAll(filepath.Join(n.dir, lost)); err != nil {
			t.Fatal(err)
		}
		if n, err = openDB(t, o).Namespace("test"); err != nil {
			t.Fatal(err)
		}
		if s := n.Status(); s.Code != "NAMESPACE_MISSING" {
			t.Errorf("without %s: %+v", lost, s)
		}
		if _, _, err := n.Get([]byte("k")); !errors.Is(err, ErrMissing) {
			t.Errorf("a read without %s: %v", lost, err)
		}
	}
}
