package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// digestsOf is what cells come to, done the simplest way. Chunks of dropped objects
// don't count.
func digestsOf(cells cellMap, dropped map[codec.ObjectID]bool) (d digests) {
	for key, cell := range cells {
		if id, _, err := codec.SplitChunkKey([]byte(key)); err == nil && dropped[id] {
			continue
		}
		encoded := codec.AppendCell(nil, []byte(key), cell)
		d[xxhash.Sum64String(key)>>54] += xxhash.Sum64String(key + string(encoded[:codec.CellHeaderLen]))
	}
	return d
}

// digestsAgree holds the digests that a namespace keeps against its cells and
// against its log, as it is.
func digestsAgree(n *Namespace) error {
	return errors.Join(cellsAgree(n), marksAgree(n))
}

// cellsAgree holds the digests against the cells, at one checkpoint.
func cellsAgree(n *Namespace) error {
	if err := n.acquireUnused(); err != nil {
		return err
	}
	defer n.release()
	n.treeWriter.Lock()
	defer n.treeWriter.Unlock()
	state, err := readTree(n)
	if err != nil {
		return err
	}
	snap, err := n.tree.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Release()
	point, _, err := readCheckpoint(snap)
	if err != nil {
		return err
	}
	kept, err := readDigests(snap, point.LSN)
	if err != nil {
		return err
	}
	if kept == nil {
		return fmt.Errorf("the tree has no digests of its checkpoint, LSN %d", point.LSN)
	}
	if want := digestsOf(state.cells, state.dropped); *kept != want {
		return fmt.Errorf("at LSN %d the digests aren't those of the cells", point.LSN)
	}
	t, err := tallyReader(snap)
	if err != nil {
		return err
	}
	if t.digests != *kept || t.live != point.Live {
		return fmt.Errorf("at LSN %d all cells come to something else, or to %d live bytes and not %d", point.LSN, t.live, point.Live)
	}
	return nil
}

// marksAgree holds the newest and the oldest mark that the tree has against what the
// log, where it is whole, comes to at that record.
func marksAgree(n *Namespace) error {
	marks := n.Marks()
	if len(marks) > keptMarks || !slices.IsSortedFunc(marks, func(a, b Mark) int { return int(int64(b.LSN) - int64(a.LSN)) }) {
		return fmt.Errorf("the marks are %v", marks)
	}
	records, err := readLog(context.Background(), n)
	if err != nil {
		return err
	}
	if !wholeLog(records) {
		return nil
	}
	if len(marks) > 2 {
		marks = []Mark{marks[0], marks[len(marks)-1]}
	}
	for _, m := range marks {
		got, err := n.Digests(m.LSN)
		if errors.Is(err, ErrNotFound) {
			continue // a flush has made room for newer ones meanwhile
		}
		if err != nil {
			return err
		}
		rec := records[m.LSN-1]
		if rec.Kind() != codec.KindMark || rec.Epoch() != m.Epoch {
			return fmt.Errorf("there is no mark at LSN %d in epoch %d", m.LSN, m.Epoch)
		}
		d := digests(got)
		if want := digestsOf(replayed(records[:m.LSN]), nil); d != want || d.total() != m.Digest {
			return fmt.Errorf("the digests at the mark with LSN %d aren't those of the log up to there", m.LSN)
		}
	}
	return nil
}

// follower is a replica in a database of its own.
type follower struct {
	*Namespace
	fed uint64
}

func newFollower(t testing.TB, owner *Namespace, o Options) *follower {
	t.Helper()
	o.Defaults.Replica = true
	n, err := openDB(t, o).Create("test", owner.Status().Lineage)
	if err != nil {
		t.Fatal(err)
	}
	return &follower{Namespace: n}
}

// catchUp gives it what the owner has committed, a few records at a time. change,
// unless it is nil, is what the follower gets in place of a record.
func (f *follower) catchUp(t testing.TB, owner *Namespace, change func(codec.Record) codec.Record) {
	t.Helper()
	records, err := readLog(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if rec.LSN() <= f.fed {
			continue
		}
		f.fed = rec.LSN()
		if change != nil {
			rec = change(rec)
		}
		if err := f.Append(context.Background(), [][]byte{rec}, f.fed); err != nil {
			t.Fatal(err)
		}
	}
}

// mark has the owner write a mark and both nodes reach it.
func mark(t testing.TB, owner *Namespace, followers ...*follower) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	pos, err := owner.WriteMark(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.WaitMark(ctx, pos.LSN); err != nil {
		t.Fatal(err)
	}
	for _, f := range followers {
		f.catchUp(t, owner, nil)
		if err := f.WaitMark(ctx, pos.LSN); err != nil {
			t.Fatal(err)
		}
	}
	return pos.LSN
}

// differing lists the ranges that two nodes differ in at a mark.
func differing(t testing.TB, a, b *Namespace, mark uint64) (ranges []int) {
	t.Helper()
	da, errA := a.Digests(mark)
	db, errB := b.Digests(mark)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	for r := range da {
		if da[r] != db[r] {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// writeSome writes a little of everything, and replaces and removes some of it.
func writeSome(t testing.TB, n *Namespace, round int) {
	t.Helper()
	for i := range 40 {
		writeEdits(t, n,
			edit{kind: editPut, key: fmt.Sprintf("key/%02d", (i+round)%30), value: bytes.Repeat([]byte{byte(round)}, 20*i)},
			edit{kind: editPut, key: fmt.Sprintf("short/%02d", i%10), value: []byte("x"), ttl: time.Duration(1+i%3) * time.Minute},
			edit{kind: editPutColumn, key: fmt.Sprintf("row/%d", i%5), column: fmt.Sprint(i % 4), value: []byte(fmt.Sprint(round))})
		if i%7 == 0 {
			writeEdits(t, n, edit{kind: editDelete, key: fmt.Sprintf("key/%02d", i%30)}, edit{kind: editDeleteRow, key: fmt.Sprintf("row/%d", round%5)})
		}
	}
	putObject(t, n, "object", randomBytes(uint64(round), 30_000+round))
}

// TestNodesHaveEqualDigestsAtMarks applies one log on nodes that flush at other
// places, restart, and are idle, with every engine: at every mark they have the
// same digests.
func TestNodesHaveEqualDigestsAtMarks(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	owner := createNS(t, openDB(t, o), "test")
	var followers []*follower
	for _, storage := range []StorageOptions{
		{Engine: EngineMemory, MemtableSize: MinMemtableSize},
		{Engine: EngineLMDB, FlushInterval: time.Nanosecond},
		{Engine: EngineBolt},
	} {
		o := testOptions(t, vfs.OS())
		o.Dir, o.Clock, o.Defaults.Storage = t.TempDir(), clock.Now, storage
		followers = append(followers, newFollower(t, owner, o))
	}
	for round := range keptMarks + 3 {
		writeSome(t, owner, round)
		for i, f := range followers {
			f.catchUp(t, owner, nil)
			switch (i + round) % 3 {
			case 0:
				flush(t, f.Namespace)
			case 1:
				f.flushByTime(context.Background(), clock.Now())
			case 2:
				idleOut(t, f.Namespace, newFakeClock())
			}
		}
		clock.Advance(time.Minute)
		owner.expireDue(context.Background(), clock.Now().UnixNano())
		at := mark(t, owner, followers...)
		for i, f := range followers {
			if ranges := differing(t, owner, f.Namespace, at); ranges != nil {
				t.Fatalf("round %d: follower %d differs in %d ranges", round, i, len(ranges))
			}
			if got, want := f.Marks(), owner.Marks(); !slices.Equal(got[:1], want[:1]) {
				t.Fatalf("round %d: follower %d has the marks %v, the owner %v", round, i, got, want)
			}
		}
	}
	for _, f := range followers {
		if err := digestsAgree(f.Namespace); err != nil {
			t.Error(err)
		}
	}
	if err := digestsAgree(owner); err != nil {
		t.Error(err)
	}
}

// TestApplyErrorShowsAtTheNextMark gives a replica a log in which one operation does
// something else, as a fault in apply would.
func TestApplyErrorShowsAtTheNextMark(t *testing.T) {
	// Without the operation: a batch of the same LSN that does nothing.
	without := func(kind codec.OpKind) func(codec.Record) codec.Record {
		dropped := false
		return func(rec codec.Record) codec.Record {
			if dropped || rec.Kind() != codec.KindBatch {
				return rec
			}
			has := false
			if err := rec.Ops(func(op codec.Op) error { has = has || op.Kind == kind; return nil }); err != nil || !has {
				return rec
			}
			dropped = true
			var b codec.Builder
			b.Delete([]byte{codec.TypeKV, 'n', 'o'})
			return b.Seal(rec.LSN(), rec.Epoch(), rec.Time())
		}
	}
	for name, kind := range map[string]codec.OpKind{"put": codec.OpPut, "delete": codec.OpDelete, "expire": codec.OpExpire, "row": codec.OpDeleteRow} {
		t.Run(name, func(t *testing.T) {
			clock := newFakeClock()
			o := testOptions(t, vfs.NewMem())
			o.Clock = clock.Now
			owner := createNS(t, openDB(t, o), "test")
			f := newFollower(t, owner, testOptions(t, vfs.NewMem()))
			writeEdits(t, owner, edit{kind: editPut, key: "a", value: []byte("1")}, edit{kind: editPut, key: "due", value: []byte("1"), ttl: time.Minute})
			writeEdits(t, owner, edit{kind: editPutColumn, key: "r", column: "c", value: []byte("1")})
			f.catchUp(t, owner, nil)
			writeEdits(t, owner, edit{kind: editDelete, key: "a"})
			writeEdits(t, owner, edit{kind: editDeleteRow, key: "r"})
			writeEdits(t, owner, edit{kind: editPut, key: "b", value: []byte("2")})
			clock.Advance(2 * time.Minute)
			owner.expireDue(context.Background(), clock.Now().UnixNano())
			f.catchUp(t, owner, without(kind))
			at := mark(t, owner, f)
			ranges := differing(t, owner, f.Namespace, at)
			if len(ranges) == 0 {
				t.Fatal("the digests are equal")
			}
			f.NoteDifference(at, ranges)
			if i := f.Integrity(); !slices.Equal(i.BadRanges, ranges) || i.Diverged == nil || i.Diverged.Mark != at || !i.Damaged() {
				t.Errorf("integrity %+v", i)
			}
			repairAll(t, owner, f, ranges)
			if i := f.Integrity(); i.Damaged() || i.Diverged != nil {
				t.Errorf("after the repair: %+v", i)
			}
			if _, err := f.Digests(at); len(f.Marks()) > 0 || !errors.Is(err, ErrNotFound) {
				t.Errorf("marks of what was wrong were kept: %v, %v", f.Marks(), err)
			}
			putKey(t, owner, "later", "1")
			at = mark(t, owner, f)
			if ranges := differing(t, owner, f.Namespace, at); ranges != nil {
				t.Errorf("after the repair %d ranges differ", len(ranges))
			}
			if err := cellsAgree(f.Namespace); err != nil {
				t.Error(err)
			}
		})
	}
}

// repairAll repairs ranges of a follower from its source, in small chunks.
func repairAll(t testing.TB, source *Namespace, f *follower, ranges []int) (changed, bytes int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, r := range ranges {
		for from, more := []byte(nil), true; more; {
			c, again, err := source.ReadRange(ctx, r, from, 2000)
			if err != nil {
				t.Fatal(err)
			}
			f.catchUp(t, source, nil)
			n, err := f.RepairRange(ctx, r, c)
			if err != nil {
				t.Fatal(err)
			}
			changed, bytes = changed+n, bytes+len(c.Cells)
			from, more = c.End, again
		}
	}
	return changed, bytes
}

// TestDigestsOfAnOlderBuild removes the digests, and then makes them stale, as a
// build that doesn't know of them would: the next flush makes them anew.
func TestDigestsOfAnOlderBuild(t *testing.T) {
	n := newTestNS(t)
	writeSome(t, n, 1)
	flush(t, n)
	for name, spoil := range map[string]func(tx btree.Tx) error{
		"absent": func(tx btree.Tx) error { return tx.Delete(codec.DigestsKey()) },
		"stale": func(tx btree.Tx) error {
			return new(digests).write(tx, codec.DigestsKey(), codec.Version{Epoch: 1, LSN: 1})
		},
		"damaged": func(tx btree.Tx) error {
			return tx.Put(codec.DigestsKey(), bytes.Repeat([]byte{1}, codec.CellHeaderLen+digestsLen))
		},
	} {
		if err := n.tree.Update(spoil); err != nil {
			t.Fatal(err)
		}
		if err := digestsAgree(n); err == nil {
			t.Fatalf("%s: they are still there", name)
		}
		putKey(t, n, "k", name)
		flush(t, n)
		if err := digestsAgree(n); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDroppedChunksDoNotCount replaces an object while it is read: its chunks stay
// in this node's tree and leave its digests, and freeing them changes nothing.
func TestDroppedChunksDoNotCount(t *testing.T) {
	owner := newTestNS(t)
	f := newFollower(t, owner, testOptions(t, vfs.NewMem()))
	putObject(t, owner, "o", randomBytes(1, 2*MaxChunkLen+5))
	flush(t, owner)
	r, err := owner.OpenObject([]byte("o"))
	if err != nil {
		t.Fatal(err)
	}
	putObject(t, owner, "o", randomBytes(2, 3*MaxChunkLen))
	at := mark(t, owner, f)
	if ranges := differing(t, owner, f.Namespace, at); ranges != nil {
		t.Errorf("%d ranges differ while the old chunks are read", len(ranges))
	}
	for _, n := range []*Namespace{owner, f.Namespace} {
		if err := digestsAgree(n); err != nil {
			t.Error(err)
		}
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, randomBytes(1, 2*MaxChunkLen+5)) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	putKey(t, owner, "k", "v")
	at = mark(t, owner, f)
	if ranges := differing(t, owner, f.Namespace, at); ranges != nil {
		t.Errorf("%d ranges differ after the old chunks were freed", len(ranges))
	}
	if err := digestsAgree(owner); err != nil {
		t.Error(err)
	}
}
