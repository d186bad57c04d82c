package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// RepairRange makes this replica's cells of a digest range, within the keys of the
// chunk, what the source's ReadRange says they were at the chunk's LSN; what later
// records have changed is left as they made it. It waits until this node has
// committed that LSN and answers how many cells it changed. Chunks of a range come
// in key order; with the one that ends the range its digest is made from the cells,
// and it counts as repaired.
//
// ErrTrimmed where the log doesn't tell what came after the chunk: read the
// range again. ErrFork where the chunk is of another history. ErrDamaged where a
// cell of the chunk is wrong (nothing was changed), or where the B+tree's
// structure is: then the namespace is quarantined, and only a new snapshot helps.
func (n *Namespace) RepairRange(ctx context.Context, r int, c Chunk) (changed int, err error) {
	want, err := c.decode(r)
	if err != nil {
		return 0, err
	}
	if !n.opts.Load().Replica {
		return 0, fmt.Errorf("%w: namespace %q is owned by this node: its cells are what others are repaired by", ErrInvalid, n.name)
	}
	if n.staged {
		return 0, n.notReady()
	}
	if err := n.acquireUnused(); err != nil {
		return 0, err
	}
	defer n.release()
	if err := n.flushUpTo(ctx, c.LSN); err != nil {
		return 0, err
	}
	if here := epochAt(*n.epochs.Load(), c.LSN); here != c.Epoch {
		return 0, fmt.Errorf("%w: the cells are of LSN %d in epoch %d, here it is of epoch %d", ErrFork, c.LSN, c.Epoch, here)
	}
	n.db.flushSlots <- struct{}{}
	defer func() { <-n.db.flushSlots }()
	n.treeWriter.Lock()
	defer n.treeWriter.Unlock()
	return n.repair(&rangeRepair{n: n, r: r, chunk: c, want: want})
}

// flushUpTo waits until the tree contains a record.
func (n *Namespace) flushUpTo(ctx context.Context, lsn uint64) error {
	reached := func() bool { return n.commit.Load() >= lsn || n.frozen.Load() != nil || n.closing() }
	if err := n.advanced.wait(ctx, reached); err != nil {
		return fmt.Errorf("waiting for LSN %d: %w", lsn, err)
	}
	if n.point.Load().LSN < lsn {
		if err := n.flushAll(ctx); err != nil {
			return err
		}
	}
	// What is behind the commit LSN keeps its memtable from being flushed.
	var failure error
	err := n.marked.wait(ctx, func() bool {
		if frozen := n.frozen.Load(); frozen != nil {
			failure = *frozen
		} else {
			failure = n.ended()
		}
		return failure != nil || n.point.Load().LSN >= lsn
	})
	if failure != nil {
		return failure
	}
	return err
}

// repair runs the transaction of one chunk. The caller holds treeWriter.
func (n *Namespace) repair(x *rangeRepair) (changed int, err error) {
	point := *n.point.Load()
	if x.touched, err = n.touchedSince(x.chunk.LSN, point.LSN); err != nil {
		return 0, err
	}
	start, err := n.startCount()
	if err != nil {
		return 0, n.treeError(err)
	}
	var f *flushTx
	err = n.tree.Update(func(tx btree.Tx) error {
		f = newFlushTx(n, nil, tx, start)
		return x.run(f, point)
	})
	switch {
	case errors.Is(err, errNothingToRepair):
	case errors.Is(err, btree.ErrPurge):
		n.noteTreeDamage(err)
		return 0, asDamage(fmt.Errorf("%w: %w", ErrDamaged, err))
	case err != nil:
		return 0, diskFull(n.treeError(err))
	default:
		f.count.committed()
		point.Live = f.live
		n.memsMu.Lock()
		n.point.Store(&point)
		n.memsMu.Unlock()
	}
	x.finish()
	return x.changed, nil
}

// errNothingToRepair ends a transaction that has found all as it should be.
var errNothingToRepair = errors.New("nothing to repair")

// rangeRepair is the repair of a digest range by one chunk.
type rangeRepair struct {
	n       *Namespace
	r       int
	chunk   Chunk
	want    map[string]codec.Cell // what the chunk has
	touched *touched

	f       *flushTx
	here    map[string]*cellHere
	astray  map[string]bool // damaged keys of other ranges that lead searches astray
	walked  int             // pairs of the tree in the chunk's key range
	sum     uint64          // of the range's cells within the chunk's keys, afterwards
	changed int
	damaged uint64 // cells of the tree that were damaged
}

// cellHere is what the tree has under a key of the range: what a search finds, or
// where it finds nothing, what lies there all the same.
type cellHere struct {
	cell    []byte
	found   bool // by a search
	damaged bool // it isn't what was written
	lost    bool // it lies where searches miss it, or twice: it is to be purged
}

// run compares and edits within one transaction.
func (x *rangeRepair) run(f *flushTx, point checkpoint) error {
	x.f, x.here, x.sum, x.walked, x.changed, x.damaged = f, map[string]*cellHere{}, 0, 0, 0, 0
	x.astray = map[string]bool{}
	notes, err := readNotes(f.tx)
	if err != nil {
		return err
	}
	f.count.notes = notes
	if err := x.walk(); err != nil {
		return err
	}
	if err := x.purge(); err != nil {
		return err
	}
	edited, err := x.edit()
	if err != nil {
		return err
	}
	if err := errors.Join(f.applyEdits(), f.applyIndex()); err != nil {
		return err
	}
	if err := x.check(edited); err != nil {
		return err
	}
	return x.close(point)
}

// walk finds out what the tree has of the range.
func (x *rangeRepair) walk() error {
	w, err := walkTree(x.f.tx, x.chunk.within())
	if err != nil {
		return err
	}
	defer w.close()
	disorder := false
	for w.next() {
		x.walked++
		disorder = disorder || w.stray
		if digestRange(w.key) != x.r || w.key[0] >= codec.TypeSystem || x.f.count.notes.hide(w.key) {
			continue
		}
		if err := x.meet(w); err != nil {
			return err
		}
	}
	if err := w.err(); err != nil || !disorder {
		return err
	}
	return x.walkAstray()
}

// walkAstray finds the damaged keys of other ranges. One that lies out of order leads
// searches for its neighbours astray, so that what this repair puts wouldn't be found.
func (x *rangeRepair) walkAstray() error {
	w, err := walkTree(x.f.tx, x.chunk.within())
	if err != nil {
		return err
	}
	defer w.close()
	for w.next() {
		if r := digestRange(w.key); r != x.r && x.isDamaged(w.key, w.cell) {
			x.astray[string(w.key)] = true
			x.n.noteBad(r, "a damaged key lies among others")
		}
	}
	return w.err()
}

// isDamaged reports whether a pair is no cell. What its range should have instead
// comes with the repair of that.
func (x *rangeRepair) isDamaged(key, cell []byte) bool {
	if key[0] >= codec.TypeSystem || x.f.count.notes.hide(key) {
		return false
	}
	_, err := codec.DecodeCell(key, cell)
	return err != nil
}

// meet looks at one pair of the range.
func (x *rangeRepair) meet(w *treeWalk) error {
	head, length, found, err := x.f.tx.Head(w.key)
	if err != nil {
		return err
	}
	h := x.here[string(w.key)]
	if h == nil {
		h = &cellHere{cell: bytes.Clone(w.cell), found: found}
		x.here[string(w.key)] = h
	} else {
		h.lost = true
	}
	if w.stray || !found || length != len(w.cell) || !bytes.HasPrefix(w.cell, head) {
		h.lost = true
	}
	if h.lost && found {
		if h.cell, _, err = x.f.tx.Get(w.key); err != nil {
			return err
		}
	}
	_, err = codec.DecodeCell(w.key, h.cell)
	if h.damaged = err != nil; h.damaged {
		x.damaged++
	}
	return nil
}

// purge removes, wherever they lie, the cells that searches miss; what has to be
// there is put again.
func (x *rangeRepair) purge() error {
	lost := len(x.astray) > 0
	for _, h := range x.here {
		lost = lost || h.lost
	}
	if !lost {
		return nil
	}
	left := x.walked
	return x.f.tx.Purge(x.chunk.within().low, func(key, cell []byte) btree.PurgeStep {
		if left--; left < 0 {
			return btree.PurgeEnd
		}
		h := x.here[string(key)]
		if lost := h != nil && h.lost || x.astray[string(key)] && x.isDamaged(key, cell); !lost {
			return btree.PurgeKeep
		}
		if err := x.f.gone(key, cell[:min(len(cell), btree.HeadLen)], len(cell)); err != nil {
			return btree.PurgeEnd
		}
		return btree.PurgeDrop
	})
}

// edit makes every cell what it has to be, and answers the keys that it changed.
func (x *rangeRepair) edit() (edited []string, err error) {
	all := maps.Clone(x.here)
	for key := range x.want {
		if all[key] == nil {
			all[key] = nil
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		did, err := x.editCell(key, all[key])
		if err != nil {
			return nil, err
		}
		if did {
			edited = append(edited, key)
		}
	}
	return edited, nil
}

func (x *rangeRepair) editCell(key string, here *cellHere) (did bool, err error) {
	k := []byte(key)
	want, wanted := x.want[key]
	if x.touched.has(k) {
		// A later record decides. What it left is found, or nothing is.
		if here == nil {
			return false, nil
		}
		if !here.found {
			x.changed++ // what lay where no search came is purged
			return true, nil
		}
		if here.damaged {
			return false, fmt.Errorf("%w: a damaged cell may have been changed by a record behind LSN %d: read the range again", ErrTrimmed, x.chunk.LSN)
		}
		if want, err = codec.DecodeCell(k, here.cell); err != nil {
			return false, err
		}
		wanted = true
	}
	switch {
	case !wanted && here == nil:
		return false, nil
	case !wanted:
		x.changed++
		return true, x.f.edit(btree.Edit{Key: k, Delete: true}, codec.Cell{})
	}
	cell := codec.AppendCell(nil, k, want)
	x.count(k, cell)
	if here != nil && !here.lost && bytes.Equal(here.cell, cell) {
		return false, nil
	}
	x.changed++
	return true, x.f.put(k, want)
}

// count adds a cell that stays to what the range comes to.
func (x *rangeRepair) count(key, cell []byte) {
	_, sum := x.f.count.hasher.hash(key, cell)
	x.sum += sum
}

// check looks the edited cells up again: in a tree whose inner pages are damaged
// they may be where no search finds them.
func (x *rangeRepair) check(edited []string) error {
	for _, key := range edited {
		_, _, found, err := x.f.tx.Head([]byte(key))
		if err != nil {
			return err
		}
		_, wanted := x.want[key]
		if x.touched.has([]byte(key)) {
			wanted = x.here[key].found
		}
		if found != wanted {
			return fmt.Errorf("%w: a cell that was put right isn't found, or one that was removed is", btree.ErrPurge)
		}
	}
	return nil
}

// close completes the transaction: the range's digest where the chunk ends the
// range, and the checkpoint's live bytes. Marks were taken of what was wrong.
func (x *rangeRepair) close(point checkpoint) error {
	f := x.f
	if p := x.pass(); p != nil && len(x.chunk.End) == 0 && f.count.digests != nil {
		total := p.sums[x.r] + x.sum
		if x.changed == 0 && f.count.digests[x.r] == total {
			return errNothingToRepair
		}
		f.count.digests[x.r] = total
	} else if x.changed == 0 {
		return errNothingToRepair
	}
	keys, err := keysUnder(f.tx, codec.MarkPrefix())
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := f.tx.Delete(key); err != nil {
			return err
		}
	}
	f.count.marks = []Mark{}
	point.Live = f.live
	if err := point.write(f.tx); err != nil {
		return err
	}
	return f.count.write(f.tx, point, false)
}

// pass is the range's repair as far as earlier chunks have brought it: nil where
// they haven't come to this one. The first chunk begins it.
func (x *rangeRepair) pass() *pass {
	n := x.n
	if len(x.chunk.Start) == 0 {
		return &pass{only: x.r}
	}
	if p := n.repairs[x.r]; p != nil && bytes.Equal(p.upTo, x.chunk.Start) {
		return p
	}
	return nil
}

// finish notes how far the repair is.
func (x *rangeRepair) finish() {
	n := x.n
	n.integrity.repairedCells.Add(uint64(x.changed))
	n.integrity.lessDamaged(x.damaged)
	p := x.pass()
	n.dropPass(n.repairs[x.r])
	delete(n.repairs, x.r)
	switch {
	case p == nil:
	case len(x.chunk.End) == 0:
		n.noteRepaired(x.r, x.changed)
	default:
		p.sums[x.r] += x.sum
		p.upTo = x.chunk.End
		if n.repairs == nil {
			n.repairs = map[int]*pass{}
		}
		n.repairs[x.r] = p
		n.passes = append(n.passes, p)
	}
}

// dropPass ends a walk. The caller holds treeWriter.
func (n *Namespace) dropPass(p *pass) {
	n.passes = slices.DeleteFunc(n.passes, func(q *pass) bool { return q == p })
}

// decode checks a chunk of a digest range and answers its cells.
func (c Chunk) decode(r int) (map[string]codec.Cell, error) {
	if r < 0 || r >= DigestRanges {
		return nil, fmt.Errorf("%w digest range %d: there are %d", ErrInvalid, r, DigestRanges)
	}
	if _, err := c.check(); err != nil {
		return nil, err
	}
	cells := make(map[string]codec.Cell, c.Count)
	err := c.each(func(key, b []byte) error {
		if digestRange(key) != r {
			return fmt.Errorf("%w: key %x isn't of digest range %d", ErrDamaged, key, r)
		}
		cell, err := codec.DecodeCell(key, b)
		cells[string(key)] = cell
		return err
	})
	return cells, err
}

// touched is what records have changed.
type touched struct {
	keys    map[string]bool
	rows    map[string]bool // prefixes
	objects map[codec.ObjectID]bool
}

func (t *touched) has(key []byte) bool {
	if t.keys[string(key)] {
		return true
	}
	switch key[0] {
	case codec.TypeRow:
		prefix, err := codec.RowPrefixOf(key)
		return err == nil && t.rows[string(prefix)]
	case codec.TypeChunk:
		id, _, err := codec.SplitChunkKey(key)
		return err == nil && t.objects[id]
	}
	return false
}

func (t *touched) add(op codec.Op) {
	switch op.Kind {
	case codec.OpDrop:
		t.objects[op.Object] = true
	case codec.OpDeleteRow:
		t.rows[string(op.Key)] = true
	default:
		t.keys[string(op.Key)] = true
	}
}

// touchedSince reads from the log what the records behind after, up to last, have
// changed.
func (n *Namespace) touchedSince(after, last uint64) (*touched, error) {
	t := &touched{keys: map[string]bool{}, rows: map[string]bool{}, objects: map[codec.ObjectID]bool{}}
	if after >= last {
		return t, nil
	}
	r, err := n.log.NewReader(after + 1)
	if err != nil {
		return nil, n.untold(after, after+1, err)
	}
	defer func() { _ = r.Close() }() // it was only read
	for next := after + 1; next <= last; {
		chunk, _, to, err := r.Next(last, replayChunk)
		if err != nil {
			return nil, n.untold(after, next, err)
		}
		if chunk == nil {
			return nil, n.untold(after, next, errTrimmed)
		}
		for len(chunk) > 0 {
			var rec codec.Record
			if rec, _, chunk, err = codec.CutRecord(chunk); err != nil {
				return nil, n.untold(after, next, err)
			}
			if rec.Kind() != codec.KindBatch {
				continue
			}
			if err := rec.Ops(func(op codec.Op) error { t.add(op); return nil }); err != nil {
				return nil, asDamage(err)
			}
		}
		next = to + 1
	}
	return t, nil
}

// untold is the error where the log doesn't tell what came after a record.
func (n *Namespace) untold(after, at uint64, err error) error {
	if errors.Is(err, codec.ErrCorrupt) {
		n.noteLogDamage(at, err)
	}
	return fmt.Errorf("%w: the log doesn't tell what came after LSN %d (%w): read the range again", ErrTrimmed, after, err)
}
