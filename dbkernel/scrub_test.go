package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

func scrubNow(t testing.TB, n *Namespace) Integrity {
	t.Helper()
	if err := n.Scrub(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	return n.Integrity()
}

// damageTree changes the tree behind the kernel's back.
func damageTree(t testing.TB, n *Namespace, fn func(tx btree.Tx) error) {
	t.Helper()
	n.treeWriter.Lock()
	defer n.treeWriter.Unlock()
	if err := n.tree.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// TestScrubFindsAndRepairRestores changes cells of a replica's tree in every way
// that a digest can tell, with every engine. One scrub finds them, and repair makes
// the tree what it was, byte for byte, moving no more than their ranges.
func TestScrubFindsAndRepairRestores(t *testing.T) {
	lost := codec.KVKey([]byte("key/00017"))
	flipped := codec.KVKey([]byte("key/00100"))
	badHead := codec.KVKey([]byte("key/00120"))
	renamed := codec.KVKey([]byte("key/00200"))
	older := codec.KVKey([]byte("key/00211"))
	expires := codec.KVKey([]byte("key/00005"))
	for _, engine := range []string{EngineMemory, EngineLMDB, EngineBolt} {
		t.Run(engine, func(t *testing.T) {
			owner := newTestNS(t)
			for i := range 400 {
				writeEdits(t, owner, edit{kind: editPut, key: fmt.Sprintf("key/%05d", i), value: bytes.Repeat([]byte{byte(i)}, 100+i), ttl: time.Duration(i%2) * time.Hour})
			}
			putObject(t, owner, "o", randomBytes(3, MaxChunkLen+7))
			o := testOptions(t, vfs.OS())
			o.Dir, o.Defaults.Storage.Engine = t.TempDir(), engine
			f := newFollower(t, owner, o)
			mark(t, owner, f)
			if i := scrubNow(t, f.Namespace); i.Damaged() || i.Scrubs != 1 || i.ScrubbedBytes == 0 || i.ScrubbedLSN != f.Status().CheckpointLSN {
				t.Fatalf("a sound tree: %+v", i)
			}
			before, err := readTree(f.Namespace)
			if err != nil {
				t.Fatal(err)
			}
			live := f.point.Load().Live
			damageTree(t, f.Namespace, func(tx btree.Tx) error {
				change := func(key []byte, fn func(cell []byte) []byte) error {
					b, _, err := tx.Get(key)
					return errors.Join(err, tx.Put(key, fn(bytes.Clone(b))))
				}
				flip := func(at int) func([]byte) []byte {
					return func(b []byte) []byte { b[at] ^= 4; return b }
				}
				moved, _, err := tx.Get(renamed)
				return errors.Join(err, tx.Delete(lost), change(flipped, flip(codec.CellHeaderLen+3)), change(badHead, flip(4)),
					tx.Delete(renamed), tx.Put(codec.KVKey([]byte("kex/00200")), bytes.Clone(moved)),
					tx.Put(older, codec.AppendCell(nil, older, codec.Cell{Version: codec.Version{Epoch: epochStarts, LSN: 1}, Value: []byte("old")})),
					change(expires, flip(25)))
			})
			i := scrubNow(t, f.Namespace)
			for _, key := range [][]byte{lost, flipped, badHead, renamed, older, expires, codec.KVKey([]byte("kex/00200"))} {
				if !slices.Contains(i.BadRanges, digestRange(key)) {
					t.Errorf("the range of %q isn't bad: %v", key, i.BadRanges)
				}
			}
			if len(i.BadRanges) > 7 || i.DamagedCells != 4 || !i.Damaged() {
				t.Errorf("integrity %+v", i)
			}
			if _, _, err := f.ReadRange(context.Background(), digestRange(lost), nil, 1000); !errors.Is(err, ErrDamaged) {
				t.Errorf("a damaged range is read: %v", err)
			}
			changed, moved := repairAll(t, owner, f, i.BadRanges)
			inRanges := 0
			for key, cell := range before.cells {
				if slices.Contains(i.BadRanges, digestRange([]byte(key))) {
					inRanges += len(key) + codec.CellHeaderLen + len(cell.Value) + 8
				}
			}
			if changed != 7 || moved > inRanges {
				t.Errorf("%d cells changed, %d bytes read of %d in the ranges", changed, moved, inRanges)
			}
			if i := f.Integrity(); i.Damaged() || i.RepairedCells != 7 {
				t.Errorf("after the repair: %+v", i)
			}
			after, err := readTree(f.Namespace)
			if err != nil {
				t.Fatal(err)
			}
			if err := after.equals(before.cells); err != nil {
				t.Error(err)
			}
			if err := cellsAgree(f.Namespace); err != nil || f.point.Load().Live != live {
				t.Errorf("%v, live %d, before %d", err, f.point.Load().Live, live)
			}
			if i := scrubNow(t, f.Namespace); i.Damaged() {
				t.Errorf("after the repair a scrub finds %+v", i)
			}
			putKey(t, owner, "later", "1")
			at := mark(t, owner, f)
			if ranges := differing(t, owner, f.Namespace, at); ranges != nil {
				t.Errorf("%d ranges differ", len(ranges))
			}
		})
	}
}

// TestRepairLeavesWhatCameLater repairs with a chunk that is older than the tree:
// what later records changed stays.
func TestRepairLeavesWhatCameLater(t *testing.T) {
	owner := newTestNS(t)
	f := newFollower(t, owner, testOptions(t, vfs.NewMem()))
	for i := range 1000 {
		writeEdits(t, owner,
			edit{kind: editPut, key: fmt.Sprint(i), value: []byte("old")},
			edit{kind: editPutColumn, key: fmt.Sprint(i % 50), column: fmt.Sprint(i), value: []byte("old")})
	}
	ctx := context.Background()
	var chunks []Chunk
	for r := range 60 {
		c, more, err := owner.ReadRange(ctx, r, nil, 1<<20)
		if err != nil || more {
			t.Fatal(more, err)
		}
		chunks = append(chunks, c)
	}
	for i := range 1000 {
		switch i % 3 {
		case 0:
			writeEdits(t, owner, edit{kind: editPut, key: fmt.Sprint(i), value: []byte("new")})
		case 1:
			writeEdits(t, owner, edit{kind: editDelete, key: fmt.Sprint(i)})
		}
		if i < 20 {
			writeEdits(t, owner, edit{kind: editDeleteRow, key: fmt.Sprint(i)})
		}
	}
	at := mark(t, owner, f)
	for r, c := range chunks {
		if n, err := f.RepairRange(ctx, r, c); n != 0 || err != nil {
			t.Fatalf("range %d: %d cells of a sound tree were changed: %v", r, n, err)
		}
	}
	if ranges := differing(t, owner, f.Namespace, at); ranges != nil {
		t.Errorf("%d ranges differ", len(ranges))
	}
	checkSound(t, f.Namespace)

	c := chunks[0]
	c.LSN++ // of this record the log says something else
	if _, err := f.RepairRange(ctx, 1, c); !errors.Is(err, ErrDamaged) {
		t.Errorf("cells of another range: %v", err)
	}
	c = chunks[0]
	c.Epoch++
	if _, err := f.RepairRange(ctx, 0, c); !errors.Is(err, ErrFork) {
		t.Errorf("a chunk of another history: %v", err)
	}
	c = chunks[0]
	c.Cells = bytes.Clone(c.Cells)
	c.Cells[len(c.Cells)-1] ^= 1
	if _, err := f.RepairRange(ctx, 0, c); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged chunk: %v", err)
	}
	if _, err := owner.RepairRange(ctx, 0, chunks[0]); !errors.Is(err, ErrInvalid) {
		t.Errorf("the owner was repaired: %v", err)
	}
}

// TestRepairNeedsTheLog trims the log behind a chunk.
func TestRepairNeedsTheLog(t *testing.T) {
	owner := newTestNS(t)
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Storage = tiny(EngineMemory)
	f := newFollower(t, owner, o)
	putKey(t, owner, "a", "1")
	c, _, err := owner.ReadRange(context.Background(), 5, nil, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		writeEdits(t, owner, edit{kind: editPut, key: fmt.Sprint(i), value: make([]byte, 3000)})
	}
	mark(t, owner, f)
	f.trim()
	if f.log.FirstLSN() <= c.LSN+1 {
		t.Fatal("nothing was trimmed")
	}
	if _, err := f.RepairRange(context.Background(), 5, c); !errors.Is(err, ErrTrimmed) {
		t.Errorf("repair: %v", err)
	}
}

// TestScrubUnderLoad scrubs while writers, flushes and idle releases go on, in
// pieces: what it adds up is always one state, so that it finds nothing.
func TestScrubUnderLoad(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Storage = tiny(EngineMemory)
	n := createNS(t, openDB(t, o), "test")
	for i := range 600 {
		writeEdits(t, n, edit{kind: editPut, key: fmt.Sprintf("%04d", i), value: make([]byte, 8000)})
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("%04d", rng.IntN(800))
				if rng.IntN(4) == 0 {
					writeEdits(t, n, edit{kind: editDelete, key: key}, edit{kind: editDeleteRow, key: key})
				} else {
					writeEdits(t, n, edit{kind: editPut, key: key, value: make([]byte, rng.IntN(9000))}, edit{kind: editPutColumn, key: key, column: "c", value: []byte{byte(i)}})
				}
				if i%50 == 0 {
					putObject(t, n, "o", randomBytes(uint64(i), 1000))
				}
			}
		})
	}
	flushes := n.Counters().Flushes
	for range 6 {
		if err := n.Scrub(context.Background(), 64<<20); err != nil {
			t.Error(err)
		}
		if i := n.Integrity(); i.Damaged() {
			t.Errorf("found %+v", i)
		}
	}
	close(stop)
	wg.Wait()
	if n.Counters().Flushes == flushes {
		t.Error("no flush during the scrubs")
	}
	if len(n.passes) > 0 {
		t.Errorf("%d passes are left", len(n.passes))
	}
	damageTree(t, n, func(tx btree.Tx) error { return tx.Delete(codec.KVKey([]byte("0001"))) })
	checkSoundness := scrubNow(t, n)
	if _, found := getKey(t, n, "0001"); !found && len(checkSoundness.BadRanges) > 1 {
		t.Errorf("one lost key made %d ranges bad", len(checkSoundness.BadRanges))
	}
}

// TestScrubIsNoUse scrubs an idle namespace: it stays idle, and what a pass finds
// is in memory all the same.
func TestScrubIsNoUse(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	putKey(t, n, "a", "1")
	idleOut(t, n, clock)
	if i := scrubNow(t, n); i.Scrubs != 1 || i.Damaged() {
		t.Errorf("integrity %+v", i)
	}
	n.releaseIdle(context.Background(), clock.Now())
	n.life.mu.Lock()
	defer n.life.mu.Unlock()
	if n.life.hot {
		t.Error("the scrub keeps the namespace's memory")
	}
	if len(n.Marks()) == 0 {
		t.Error("the idle namespace has forgotten its marks")
	}
}

// TestHousekeepingScrubs moves the clock on.
func TestHousekeepingScrubs(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock, o.ScrubEvery = clock.Now, time.Hour
	db := openDB(t, o)
	n := createNS(t, db, "test")
	putKey(t, n, "a", "1")
	if db.nextScrub(clock.Now()) != nil {
		t.Error("a scrub right after the start")
	}
	for want := range uint64(3) {
		if got := n.Integrity().Scrubs; got != want {
			t.Fatalf("%d scrubs, expected %d", got, want)
		}
		clock.Advance(time.Hour)
		eventually(t, "a scrub", func() bool { return n.Integrity().Scrubs > want })
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %s", what)
		}
	}
}

// TestReadFindsDamage reads a damaged value: the range is bad at once, and the event
// is told once.
func TestReadFindsDamage(t *testing.T) {
	var mu sync.Mutex
	var events []EventKind
	o := testOptions(t, vfs.NewMem())
	o.OnEvent = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e.Kind)
	}
	n := createNS(t, openDB(t, o), "test")
	putKey(t, n, "a", "1")
	putKey(t, n, "b", "1")
	flush(t, n)
	key := codec.KVKey([]byte("a"))
	damageTree(t, n, func(tx btree.Tx) error {
		b, _, err := tx.Get(key)
		b[codec.CellHeaderLen] ^= 1
		return errors.Join(err, tx.Put(key, b))
	})
	for range 3 {
		if _, _, err := n.Get([]byte("a")); !errors.Is(err, ErrDamaged) {
			t.Fatalf("a damaged value is served: %v", err)
		}
	}
	wantKey(t, n, "b", "1")
	if i := n.Integrity(); !slices.Equal(i.BadRanges, []int{digestRange(key)}) || i.DamagedCells != 1 {
		t.Errorf("integrity %+v", i)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(events, []EventKind{EventDamaged}) {
		t.Errorf("events %v", events)
	}
}

// TestFlushOverDamage replaces, deletes and expires damaged cells: the flush goes
// on, and what it can't account for is bad.
func TestFlushOverDamage(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	for _, key := range []string{"put", "delete"} {
		putKey(t, n, key, "1")
	}
	writeEdits(t, n, edit{kind: editPut, key: "expire", value: []byte("1"), ttl: time.Minute})
	flush(t, n)
	clock.Advance(time.Hour)
	n.expireDue(context.Background(), clock.Now().UnixNano())
	damageTree(t, n, func(tx btree.Tx) error {
		var errs []error
		for _, key := range []string{"put", "delete", "expire"} {
			k := codec.KVKey([]byte(key))
			b, _, err := tx.Get(k)
			b[4] = 9 // the cell's format
			errs = append(errs, err, tx.Put(k, b))
		}
		return errors.Join(errs...)
	})
	putKey(t, n, "put", "2")
	writeEdits(t, n, edit{kind: editDelete, key: "delete"})
	flush(t, n)
	if s := n.Status(); s.State != StateServing {
		t.Errorf("state %s: %s", s.State, s.Reason)
	}
	wantKey(t, n, "put", "2")
	if i := n.Integrity(); len(i.BadRanges) != 3 {
		t.Errorf("integrity %+v", i)
	}
}

// TestLogDamage flips a bit in a closed segment: a scrub finds the record, and so
// does a tail, which hands out nothing of it.
func TestLogDamage(t *testing.T) {
	for _, by := range []string{"scrub", "tail"} {
		t.Run(by, func(t *testing.T) {
			o := testOptions(t, vfs.OS())
			o.Dir = t.TempDir()
			o.Defaults.Storage.SegmentSize = MinSegmentSize
			n := createNS(t, openDB(t, o), "test")
			fillSegments(t, n)
			flush(t, n)
			n.ring.Store(nil) // so that the disk is read
			segment := n.log.Segments()[1]
			lsn := segment.FirstLSN + 1
			flipInLog(t, n, segment.Path, lsn)
			if by == "scrub" {
				scrubNow(t, n)
			} else {
				if _, err := readLog(context.Background(), n); !errors.Is(err, ErrDamaged) {
					t.Fatalf("a damaged record is handed out: %v", err)
				}
			}
			i := n.Integrity()
			if !i.LogDamaged || i.LogDamagedLSN != lsn || !i.Damaged() || len(i.BadRanges) > 0 {
				t.Fatalf("integrity %+v, the record is LSN %d", i, lsn)
			}
			flipInLog(t, n, segment.Path, lsn)
			if i := scrubNow(t, n); i.Damaged() {
				t.Errorf("undone, a scrub still says %+v", i)
			}
		})
	}
}

// flipInLog flips a bit of a record in a segment file.
func flipInLog(t *testing.T, n *Namespace, path string, lsn uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The LSN and the epoch are found in the record's header, at offset 8.
	want := codec.NewMarkRecord(lsn, n.epoch.Load(), 0)[8:24]
	at := bytes.Index(b, want)
	if at < 0 {
		t.Fatalf("record LSN %d isn't in %s", lsn, filepath.Base(path))
	}
	flipByte(t, path, int64(at+40), 1)
}

func flipByte(t testing.TB, path string, at int64, bit byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= bit
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestTreeDamage says what becomes of a namespace in whose tree LMDB finds damage.
func TestTreeDamage(t *testing.T) {
	owner := newTestNS(t)
	o := testOptions(t, vfs.NewMem())
	f := newFollower(t, owner, o)
	putKey(t, owner, "a", "1")
	f.catchUp(t, owner, nil)
	damage := fmt.Errorf("%w: page 7", btree.ErrDamaged)
	for _, n := range []*Namespace{owner, f.Namespace} {
		if err := n.treeError(damage); !errors.Is(err, ErrDamaged) {
			t.Errorf("error %v", err)
		}
		if i := n.Integrity(); i.TreeDamage == "" || !i.Damaged() {
			t.Errorf("integrity %+v", i)
		}
		wantKey(t, n, "a", "1") // what can be read is
	}
	// The owner goes on; a scrub that gets through clears it.
	putKey(t, owner, "a", "2")
	if i := scrubNow(t, owner); i.Damaged() {
		t.Errorf("integrity %+v", i)
	}
	// The replica stops until it is replaced.
	scrubNow(t, f.Namespace)
	if s := f.Status(); s.State != StateQuarantined || s.Code != "DAMAGED" || s.Lineage != owner.Status().Lineage || s.Reason == "" {
		t.Errorf("status %+v", s)
	}
	records, err := readLog(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	last := records[len(records)-1]
	if err := f.Append(context.Background(), [][]byte{last}, last.LSN()); !errors.Is(err, ErrFrozen) {
		t.Errorf("a damaged replica takes records: %v", err)
	}
	if err := f.WaitMark(context.Background(), 100); !errors.Is(err, ErrFrozen) {
		t.Errorf("waiting for a mark: %v", err)
	}
	if err := f.db.Close(); err != nil {
		t.Error(err)
	}
	again, err := openDB(t, o).Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	if s := again.Status(); s.State != StateQuarantined || s.Code != "DAMAGED" || s.Lineage != owner.Status().Lineage {
		t.Errorf("after a restart: %+v", s)
	}
}
