package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeClock is a clock that tests turn forward.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.Unix(1_800_000_000, 0)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// testOptions keep everything in memory: fast, and able to crash.
func testOptions(t testing.TB, fsys vfs.FS) Options {
	t.Helper()
	return Options{
		Dir: "/data", FS: fsys,
		Logger:   hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: testWriter{t}}),
		Defaults: NamespaceOptions{Storage: StorageOptions{Engine: EngineMemory}},
	}
}

// testWriter sends the log to the test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

func openDB(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return db
}

func createNS(t testing.TB, db *DB, name string) *Namespace {
	t.Helper()
	n, err := db.Create(name, Lineage{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newTestNS is a namespace on an in-memory file system.
func newTestNS(t testing.TB) *Namespace {
	t.Helper()
	return createNS(t, openDB(t, testOptions(t, vfs.NewMem())), "test")
}

func putKey(t testing.TB, n *Namespace, key, value string) Position {
	t.Helper()
	var b Batch
	if err := b.Put([]byte(key), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	pos, err := n.Write(context.Background(), &b)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func getKey(t testing.TB, n *Namespace, key string) (string, bool) {
	t.Helper()
	v, err := n.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	value, err := v.Get([]byte(key))
	if errors.Is(err, ErrNotFound) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(value.Data), true
}

func wantKey(t testing.TB, n *Namespace, key, value string) {
	t.Helper()
	if got, ok := getKey(t, n, key); !ok || got != value {
		t.Errorf("%s = %q, %v; expected %q", key, got, ok, value)
	}
}

func wantNoKey(t testing.TB, n *Namespace, key string) {
	t.Helper()
	if got, ok := getKey(t, n, key); ok {
		t.Errorf("%s = %q; expected none", key, got)
	}
}

func flush(t testing.TB, n *Namespace) {
	t.Helper()
	if err := n.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// inBothPlaces runs a test on what is in the memtable, and again on what is in
// the tree.
func inBothPlaces(t *testing.T, n *Namespace, check func(t *testing.T)) {
	t.Helper()
	t.Run("memtable", check)
	flush(t, n)
	t.Run("tree", check)
}

func TestPutGetDelete(t *testing.T) {
	n := newTestNS(t)
	first := putKey(t, n, "a", "1")
	if first.LSN != 2 || first.Epoch != epochStarts || first.Lineage.IsZero() {
		t.Fatalf("first position %s: expected LSN 2 behind the epoch record, epoch %d", first, epochStarts)
	}
	inBothPlaces(t, n, func(t *testing.T) { wantKey(t, n, "a", "1") })
	var b Batch
	for _, err := range []error{b.Put([]byte("b"), nil, 0), b.Delete([]byte("a"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	inBothPlaces(t, n, func(t *testing.T) {
		wantNoKey(t, n, "a")
		wantKey(t, n, "b", "")
	})
}

func TestRowsMergeAndAreDeleted(t *testing.T) {
	n := newTestNS(t)
	ctx := context.Background()
	write := func(f func(b *Batch) error) {
		t.Helper()
		var b Batch
		if err := f(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Write(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	row := func(want map[string]string) {
		t.Helper()
		v, err := n.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		got, err := v.GetRow([]byte("r"), nil)
		if want == nil {
			if !errors.Is(err, ErrNotFound) {
				t.Fatalf("row is %v, %v; expected none", got, err)
			}
			return
		}
		if err != nil || len(got.Columns) != len(want) {
			t.Fatalf("row is %v, %v; expected %v", got.Columns, err, want)
		}
		for c, value := range want {
			if string(got.Columns[c]) != value {
				t.Errorf("column %s is %q, expected %q", c, got.Columns[c], value)
			}
		}
	}
	cols := func(kv ...string) map[string][]byte {
		m := map[string][]byte{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = []byte(kv[i+1])
		}
		return m
	}
	write(func(b *Batch) error { return b.PutRow([]byte("r"), cols("a", "1", "b", "2"), 0) })
	write(func(b *Batch) error { return b.PutRow([]byte("r0"), cols("a", "other"), 0) })
	flush(t, n)
	write(func(b *Batch) error { return b.PutRow([]byte("r"), cols("b", "3", "c", "4"), 0) })
	inBothPlaces(t, n, func(t *testing.T) { row(map[string]string{"a": "1", "b": "3", "c": "4"}) })
	write(func(b *Batch) error { return b.DeleteColumns([]byte("r"), []string{"a"}) })
	inBothPlaces(t, n, func(t *testing.T) { row(map[string]string{"b": "3", "c": "4"}) })
	write(func(b *Batch) error { return b.DeleteRow([]byte("r")) })
	write(func(b *Batch) error { return b.PutRow([]byte("r"), cols("d", "5"), 0) })
	inBothPlaces(t, n, func(t *testing.T) { row(map[string]string{"d": "5"}) })
	write(func(b *Batch) error { return b.DeleteRow([]byte("r")) })
	inBothPlaces(t, n, func(t *testing.T) { row(nil) })
}

// TestRowVersionChangesWithEveryWrite includes the delete of a column that is
// not the newest one.
func TestRowVersionChangesWithEveryWrite(t *testing.T) {
	n := newTestNS(t)
	seen := map[Version]bool{}
	step := func(f func(*Tx) error) {
		t.Helper()
		if _, err := n.Update(context.Background(), f); err != nil {
			t.Fatal(err)
		}
		v, err := n.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		all, err := v.GetRow([]byte("r"), nil)
		if err != nil {
			t.Fatal(err)
		}
		some, err := v.GetRow([]byte("r"), []string{"a"})
		if err != nil || some.Version != all.Version {
			t.Fatalf("version %q of some columns, %q of all: %v", some.Version, all.Version, err)
		}
		if seen[all.Version] {
			t.Fatalf("version %q came twice", all.Version)
		}
		seen[all.Version] = true
	}
	one := map[string][]byte{"a": []byte("1")}
	step(func(tx *Tx) error { return tx.PutRow([]byte("r"), one, 0) })
	step(func(tx *Tx) error { return tx.PutRow([]byte("r"), map[string][]byte{"b": nil, "c": nil}, 0) })
	step(func(tx *Tx) error { return tx.DeleteColumns([]byte("r"), []string{"a"}) })
	step(func(tx *Tx) error { return tx.PutRow([]byte("r"), one, 0) })
	step(func(tx *Tx) error { return tx.PutRow([]byte("r"), one, 0) })
}

func TestScanBothWaysInPages(t *testing.T) {
	n := newTestNS(t)
	for i := range 50 {
		putKey(t, n, fmt.Sprintf("k%02d", i), fmt.Sprint(i))
		if i == 25 {
			flush(t, n)
		}
	}
	putKey(t, n, "other", "")
	collect := func(s Scan) (keys []string) {
		t.Helper()
		for {
			v, err := n.View()
			if err != nil {
				t.Fatal(err)
			}
			page, err := v.Scan(s)
			v.Close()
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range page.Items {
				keys = append(keys, string(item.Key))
				s.After = item.Key
			}
			if !page.More {
				return keys
			}
		}
	}
	for _, limit := range []int{0, 1, 7} {
		up := collect(Scan{Prefix: []byte("k"), Limit: limit})
		down := collect(Scan{Prefix: []byte("k"), Limit: limit, Reverse: true})
		if len(up) != 50 || len(down) != 50 || up[0] != "k00" || up[49] != "k49" || down[0] != "k49" || down[49] != "k00" {
			t.Fatalf("limit %d: up %v, down %v", limit, up, down)
		}
	}
	if got := collect(Scan{Start: []byte("k10"), End: []byte("k13")}); fmt.Sprint(got) != "[k10 k11 k12]" {
		t.Fatalf("start and end: %v", got)
	}
	if got := collect(Scan{Start: []byte("k10"), End: []byte("k13"), Reverse: true}); fmt.Sprint(got) != "[k12 k11 k10]" {
		t.Fatalf("start and end in reverse: %v", got)
	}
}

func TestUpdateRetriesUntilItHolds(t *testing.T) {
	n := newTestNS(t)
	putKey(t, n, "n", "0")
	const writers, rounds = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				_, err := n.Update(context.Background(), func(tx *Tx) error {
					v, err := tx.Get([]byte("n"))
					if err != nil {
						return err
					}
					var i int
					if _, err := fmt.Sscan(string(v.Data), &i); err != nil {
						return err
					}
					return tx.Put([]byte("n"), fmt.Append(nil, i+1), 0)
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantKey(t, n, "n", fmt.Sprint(writers*rounds))
}

func TestInteractiveTransaction(t *testing.T) {
	n := newTestNS(t)
	ctx := context.Background()
	putKey(t, n, "a", "1")
	tx, err := n.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := tx.Get([]byte("a")); err != nil || string(v.Data) != "1" {
		t.Fatalf("a = %q, %v", v.Data, err)
	}
	if err := tx.Put([]byte("b"), []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	if v, err := tx.Get([]byte("b")); err != nil || string(v.Data) != "2" {
		t.Fatalf("its own write reads %q, %v", v.Data, err)
	}
	wantNoKey(t, n, "b")
	putKey(t, n, "a", "changed")
	if _, err := tx.Get([]byte("c")); !errors.Is(err, ErrConflict) {
		t.Fatalf("a read after what was read changed: %v", err)
	}
	if _, _, err := tx.Commit(ctx); !errors.Is(err, ErrConflict) {
		t.Fatalf("commit: %v", err)
	}
	if _, err := n.Transaction(tx.ID()); !errors.Is(err, ErrTxNotFound) {
		t.Fatalf("after its end: %v", err)
	}
	wantNoKey(t, n, "b")

	blind, err := n.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := blind.Put([]byte("a"), []byte("blind"), 0); err != nil {
		t.Fatal(err)
	}
	putKey(t, n, "a", "again")
	if _, _, err := blind.Commit(ctx); err != nil {
		t.Fatalf("a blind write conflicted: %v", err)
	}
	wantKey(t, n, "a", "blind")
}

func TestTransactionExpires(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	tx, err := n.Begin()
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(txIdle - time.Second)
	if _, err := n.Transaction(tx.ID()); err != nil {
		t.Fatal(err)
	}
	clock.Advance(txIdle)
	n.expireTransactions(clock.Now())
	if _, err := n.Transaction(tx.ID()); !errors.Is(err, ErrTxExpired) {
		t.Fatalf("idle for too long: %v", err)
	}
	if _, err := n.Transaction("feed"); !errors.Is(err, ErrTxNotFound) {
		t.Fatalf("unknown: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	ctx := context.Background()
	for _, flushed := range []bool{false, true} {
		var b Batch
		for _, err := range []error{
			b.Put([]byte("short"), []byte("x"), time.Minute),
			b.Put([]byte("touched"), []byte("x"), time.Minute),
			b.Put([]byte("cleared"), []byte("x"), time.Minute),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.Write(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if flushed {
			flush(t, n)
		}
		if _, err := n.Update(ctx, func(tx *Tx) error { return tx.Touch([]byte("touched"), time.Hour) }); err != nil {
			t.Fatal(err)
		}
		putKey(t, n, "cleared", "y")
		clock.Advance(2 * time.Minute)
		wantNoKey(t, n, "short") // hidden before any operation says so
		before := n.counters.expired.Load()
		n.expireDue(ctx, clock.Now().UnixNano())
		if got := n.counters.expired.Load() - before; got != 1 {
			t.Fatalf("flushed %v: %d keys expired, expected 1", flushed, got)
		}
		clock.Advance(-2 * time.Minute)
		wantNoKey(t, n, "short") // gone whatever the clock says
		wantKey(t, n, "touched", "x")
		wantKey(t, n, "cleared", "y")
		flush(t, n)
		wantNoKey(t, n, "short")
		clock.Advance(2 * time.Minute)
	}
	clock.Advance(2 * time.Hour)
	n.expireDue(ctx, clock.Now().UnixNano())
	wantNoKey(t, n, "touched")
	wantKey(t, n, "cleared", "y")
	if due := n.nextDue.Load(); due != 0 {
		t.Errorf("next due %d though nothing expires", due)
	}
}

func randomBytes(seed uint64, size int) []byte {
	b := make([]byte, size)
	src := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = src.Read(b) // never fails
	return b
}

func putObject(t testing.TB, n *Namespace, key string, data []byte) {
	t.Helper()
	if _, _, err := n.PutObject(context.Background(), []byte(key), bytes.NewReader(data), 0, Cond{}); err != nil {
		t.Fatal(err)
	}
}

func TestObjects(t *testing.T) {
	n := newTestNS(t)
	for i, size := range []int{0, 1, MaxChunkLen - 1, MaxChunkLen, MaxChunkLen + 1, 3*MaxChunkLen + 17} {
		data := randomBytes(uint64(i), size)
		key := fmt.Sprint("object-", size)
		putObject(t, n, key, data)
		inBothPlaces(t, n, func(t *testing.T) {
			r, err := n.OpenObject([]byte(key))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes read, %v; expected %d", len(got), err, len(data))
			}
			if size > 100 {
				part := make([]byte, 50)
				if _, err := r.ReadAt(part, int64(size-77)); err != nil || !bytes.Equal(part, data[size-77:size-27]) {
					t.Fatalf("range: %v", err)
				}
			}
		})
	}
}

// TestReplacedObjectStaysReadable keeps a reader open across a replacement and
// several flushes, and then sees the chunks go.
func TestReplacedObjectStaysReadable(t *testing.T) {
	n := newTestNS(t)
	old, young := randomBytes(1, 3*MaxChunkLen), randomBytes(2, 2*MaxChunkLen)
	putObject(t, n, "o", old)
	r, err := n.OpenObject([]byte("o"))
	if err != nil {
		t.Fatal(err)
	}
	putObject(t, n, "o", young)
	for range 2 {
		flush(t, n)
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, old) {
			t.Fatalf("the replaced object reads %d bytes, %v", len(got), err)
		}
		putKey(t, n, "k", "something to flush")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	putKey(t, n, "k", "v")
	flush(t, n)
	if got, want := n.point.Load().Live, int64(len("k")+len("v")+1+len("o")+1+32+len(young)+2*25); got != want {
		t.Errorf("live bytes %d after the old chunks went, expected %d", got, want)
	}
}

func TestFailedUploadLeavesNothing(t *testing.T) {
	n := newTestNS(t)
	broken := io.MultiReader(bytes.NewReader(randomBytes(1, 2*MaxChunkLen+5)), errReader{})
	if _, _, err := n.PutObject(context.Background(), []byte("o"), broken, 0, Cond{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("upload: %v", err)
	}
	flush(t, n)
	if live := n.point.Load().Live; live != 0 || len(n.point.Load().Uploads) != 0 {
		t.Errorf("%d live bytes and uploads %v are left", live, n.point.Load().Uploads)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestReopen(t *testing.T) {
	fsys := vfs.NewMem()
	o := testOptions(t, fsys)
	var last Position
	for round := range 4 {
		db, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		var n *Namespace
		if round == 0 {
			n = createNS(t, db, "test")
		} else if n, err = db.Namespace("test"); err != nil {
			t.Fatal(err)
		}
		for r := range round {
			wantKey(t, n, fmt.Sprint("k", r), "v")
		}
		pos := putKey(t, n, fmt.Sprint("k", round), "v")
		if round > 0 && (pos.Epoch != last.Epoch+1 || pos.Lineage != last.Lineage || pos.LSN != last.LSN+2) {
			t.Fatalf("position %s after %s: expected the next epoch", pos, last)
		}
		last = pos
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplicaFollows(t *testing.T) {
	owner := newTestNS(t)
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Replica = true
	db := openDB(t, o)
	replica, err := db.Create("test", owner.Status().Lineage)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	putKey(t, owner, "a", "1")
	putObject(t, owner, "o", randomBytes(1, 2*MaxChunkLen))
	tail, err := owner.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for replica.CommitLSN() < owner.CommitLSN() {
		run, err := tail.Next(ctx, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time nothing happens
			if err := replica.Append(ctx, run.Records, run.Commit); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantKey(t, replica, "a", "1")
	if _, err := replica.OpenObject([]byte("missing")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if got, want := replica.EpochTable(), owner.EpochTable(); len(got) != 1 || got[0] != want[0] {
		t.Errorf("epoch table %v, the owner has %v", got, want)
	}
	var b Batch
	if err := b.Delete([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.Write(ctx, &b); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a write to the replica: %v", err)
	}
}

func TestQuota(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Quota.MaxBytes = 10_000
	n := createNS(t, openDB(t, o), "test")
	put := func(key string, size int) error {
		var b Batch
		if err := b.Put([]byte(key), make([]byte, size), 0); err != nil {
			t.Fatal(err)
		}
		_, err := n.Write(context.Background(), &b)
		return err
	}
	for range 20 { // overwriting is no growth
		if err := put("a", 4000); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("b", 7000); !errors.Is(err, ErrQuota) {
		t.Fatalf("beyond the quota: %v", err)
	}
	wantNoKey(t, n, "b")
	var b Batch
	if err := b.Delete([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Write(context.Background(), &b); err != nil {
		t.Fatalf("a delete is held back: %v", err)
	}
	if err := put("b", 7000); err != nil {
		t.Fatalf("after the delete: %v", err)
	}
}

func TestWriteRate(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	o.Defaults.Quota.WriteBytesPerSecond = 1000
	n := createNS(t, openDB(t, o), "test")
	put := func() error {
		var b Batch
		if err := b.Put([]byte("a"), make([]byte, 2000), 0); err != nil {
			t.Fatal(err)
		}
		_, err := n.Write(context.Background(), &b)
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	var q *QuotaError
	if err := put(); !errors.As(err, &q) || q.RetryAfter <= 0 || q.RetryAfter > 3*time.Second {
		t.Fatalf("over the rate: %v", err)
	}
	clock.Advance(q.RetryAfter)
	if err := put(); err != nil {
		t.Fatalf("after waiting: %v", err)
	}
}

// idleOut turns the clock until the namespace has given back its memory. That
// may take more than one round: the committer may still be on its way out.
func idleOut(t testing.TB, n *Namespace, clock *fakeClock) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		n.releaseIdle(context.Background(), clock.Now())
		n.life.mu.Lock()
		hot := n.life.hot
		n.life.mu.Unlock()
		if !hot {
			return
		}
		clock.Advance(2 * n.db.opts.IdleAfter)
	}
	t.Fatal("the namespace keeps its memory")
}

func TestIdleNamespaceGivesBackItsMemory(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	putKey(t, n, "a", "1")
	idleOut(t, n, clock)
	if bytes := n.db.memory.Load(); bytes != 0 {
		t.Fatalf("%d bytes are still counted", bytes)
	}
	if s := n.Status(); s.CheckpointLSN != s.LSN || s.State != StateServing {
		t.Errorf("status while idle: %+v", s)
	}
	wantKey(t, n, "a", "1")
	putKey(t, n, "a", "2")
	wantKey(t, n, "a", "2")
}

func TestWaitFor(t *testing.T) {
	n := newTestNS(t)
	pos := putKey(t, n, "a", "1")
	ctx := context.Background()
	if err := n.WaitFor(ctx, pos); err != nil {
		t.Fatal(err)
	}
	future := pos
	future.LSN++
	done := make(chan error, 1)
	go func() { done <- n.WaitFor(ctx, future) }()
	putKey(t, n, "a", "2")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	future.LSN += 10
	if err := n.WaitFor(canceled, future); !errors.Is(err, ErrNotCaughtUp) {
		t.Fatalf("not reached: %v", err)
	}
	other := pos
	other.Lineage[0]++
	lost := pos
	lost.Epoch--
	for _, p := range []Position{other, lost} {
		if err := n.WaitFor(ctx, p); !errors.Is(err, ErrPositionLost) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	openDB(t, o)
	if _, err := Open(o); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
}

func TestBadNamesAndKeys(t *testing.T) {
	db := openDB(t, testOptions(t, vfs.NewMem()))
	for _, name := range []string{"", ".", "..", "-a", "a/b", "a b", string(make([]byte, 65)), ".new-x"} {
		if _, err := db.Create(name, Lineage{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("creating %q: %v", name, err)
		}
		if _, err := db.Namespace(name); !errors.Is(err, ErrNamespaceNotFound) {
			t.Errorf("opening %q: %v", name, err)
		}
	}
	createNS(t, db, "taken")
	if _, err := db.Create("taken", Lineage{}); !errors.Is(err, ErrNamespaceExists) {
		t.Error(err)
	}
	var b Batch
	for _, err := range []error{
		b.Put(nil, nil, 0), b.Put(make([]byte, MaxKeyLen+1), nil, 0), b.Put([]byte("k"), nil, -1),
		b.PutRow([]byte("r"), nil, 0), b.PutRow([]byte("r"), map[string][]byte{"": nil}, 0),
		b.PutRow([]byte("r"), map[string][]byte{"\xff": nil}, 0),
		b.PutRow(make([]byte, MaxKeyLen), map[string][]byte{"c": nil}, 0),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
	if err := b.Put([]byte("k"), make([]byte, MaxValueLen+1), 0); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}
