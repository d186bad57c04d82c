package dbkernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// digests are what the cells of each range come to: the sum, modulo 2^64, of a
// hash of every cell's key and header. A sum, so that a flush keeps it up to date
// by what it puts and what it replaces; of headers, because a header has the CRC of
// all the rest, and a flush reads no more of an old cell. The tree's own cells
// don't count, nor do chunks of dropped objects that are still read here: so the
// digests follow from the log alone, and are the same on every node.
type digests [DigestRanges]uint64

const (
	digestShift = 54 // leaves the number of a range of a key's hash
	digestsLen  = DigestRanges * 8
)

// digestRange is the range that a cell's key belongs to.
func digestRange(key []byte) int { return int(xxhash.Sum64(key) >> digestShift) }

// cellHasher computes what cells come to. It reuses its memory.
type cellHasher struct{ buf []byte }

// hash is what the cell under key, of which at least the header is given, adds to
// the digest of its range.
func (h *cellHasher) hash(key, cell []byte) (r int, sum uint64) {
	h.buf = append(append(h.buf[:0], key...), cell[:min(len(cell), codec.CellHeaderLen)]...)
	return digestRange(key), xxhash.Sum64(h.buf)
}

// total is one number for all ranges.
func (d *digests) total() uint64 { return xxhash.Sum64(d.encode(nil)) }

func (d *digests) encode(b []byte) []byte {
	for _, sum := range d {
		b = binary.LittleEndian.AppendUint64(b, sum)
	}
	return b
}

// write stores the digests under a key of the tree's own.
func (d *digests) write(tx btree.Tx, key []byte, at codec.Version) error {
	value := d.encode(make([]byte, 0, digestsLen))
	return tx.Put(key, codec.AppendCell(nil, key, codec.Cell{Version: at, Value: value}))
}

// decodeDigests reads what write has stored.
func decodeDigests(key, cell []byte) (d *digests, at codec.Version, err error) {
	c, err := codec.DecodeCell(key, cell)
	if err != nil {
		return nil, at, err
	}
	if len(c.Value) != digestsLen {
		return nil, at, fmt.Errorf("%w: digests of %d bytes, expected %d", codec.ErrCorrupt, len(c.Value), digestsLen)
	}
	d = new(digests)
	for i := range d {
		d[i] = binary.LittleEndian.Uint64(c.Value[8*i:])
	}
	return d, c.Version, nil
}

// readDigests reads the digests that the tree keeps of the checkpoint's state. It
// answers nil where there are none for it: an older build has flushed, or what is
// stored is damaged. Then they are made from the cells.
func readDigests(r btree.Reader, lsn uint64) (*digests, error) {
	key := codec.DigestsKey()
	b, found, err := r.Get(key)
	if err != nil {
		return nil, err
	}
	if !found {
		if lsn == 0 {
			return new(digests), nil // a new tree
		}
		return nil, nil
	}
	if d, at, err := decodeDigests(key, b); err == nil && at.LSN == lsn {
		return d, nil
	}
	return nil, nil
}

// tally is what all cells of a tree come to.
type tally struct {
	digests digests
	live    int64 // bytes of keys and values, the tree's own cells left out

	hasher cellHasher
}

// tallyPiece is how much of a tree is read with one snapshot, in bytes.
const tallyPiece = 16 << 20

// tallyTree computes from the cells what flushes otherwise keep up to date: for a
// tree that has no digests, since a build that kept none has flushed it or since it
// was a stage. It reads a piece at a time, so that it holds no snapshot for long;
// nobody may write to the tree meanwhile. ErrDamaged where the tree can't be
// walked; a cell that is damaged counts as it is, and stands out wherever digests
// are compared.
func tallyTree(tree btree.Tree) (*tally, error) {
	t := &tally{}
	for from, more := []byte(nil), true; more; {
		snap, err := tree.Snapshot()
		if err == nil {
			from, err = t.add(snap, from, tallyPiece)
			snap.Release()
		}
		if err != nil {
			return nil, asDamage(err)
		}
		more = from != nil
	}
	return t, nil
}

// tallyReader is tallyTree for one state, such as that of a transaction.
func tallyReader(r btree.Reader) (*tally, error) {
	t := &tally{}
	_, err := t.add(r, nil, math.MaxInt)
	return t, asDamage(err)
}

// add adds about maxBytes of cells from a key on, and answers the key to go on
// from, nil at the end.
func (t *tally) add(r btree.Reader, from []byte, maxBytes int) (next []byte, err error) {
	notes, err := readNotes(r)
	if err != nil {
		return nil, err
	}
	w, err := walkTree(r, keyRange{from, []byte{codec.TypeSystem}})
	if err != nil {
		return nil, err
	}
	defer w.close()
	for read := 0; w.next(); {
		if read >= maxBytes && w.mayBreak() {
			return slices.Clone(w.key), nil
		}
		read += len(w.key) + len(w.cell)
		t.live += liveLen(w.key, len(w.cell))
		if !notes.hide(w.key) {
			r, sum := t.hasher.hash(w.key, w.cell)
			t.digests[r] += sum
		}
	}
	return nil, w.err()
}

// liveLen is what a cell counts in the checkpoint's live bytes.
func liveLen(key []byte, cellLen int) int64 {
	return int64(len(key) + cellLen - codec.CellHeaderLen)
}

// dropNotes are the dropped objects whose chunks the tree still has, for those who
// were reading them at the drop.
type dropNotes map[codec.ObjectID]bool

func readNotes(r btree.Reader) (dropNotes, error) {
	keys, err := keysUnder(r, codec.DropPrefix())
	if err != nil {
		return nil, err
	}
	notes := dropNotes{}
	for _, key := range keys {
		id, err := codec.SplitDropKey(key)
		if err != nil {
			return nil, err
		}
		notes[id] = true
	}
	return notes, nil
}

// hide reports whether key is a chunk of such an object.
func (d dropNotes) hide(key []byte) bool {
	if len(d) == 0 || key[0] != codec.TypeChunk {
		return false
	}
	id, _, err := codec.SplitChunkKey(key)
	return err == nil && d[id]
}

// keysUnder lists the keys that begin with a prefix.
func keysUnder(r btree.Reader, prefix []byte) (keys [][]byte, err error) {
	c, err := r.Cursor()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	in := keyRange{prefix, codec.PrefixEnd(prefix)}
	for ok := c.Seek(prefix); ok && in.holds(c.Key()); ok = c.Next() {
		keys = append(keys, slices.Clone(c.Key()))
	}
	return keys, c.Err()
}

// countStart is what a transaction's accounts of the tree begin with.
type countStart struct {
	digests *digests // nil: none are kept, the tree is a stage's and not complete
	live    int64
}

// startCount reads or makes it. The caller holds treeWriter, so that the tree is
// the same when the transaction begins; the work is done before that, since it may
// mean reading all of the tree.
func (n *Namespace) startCount() (countStart, error) {
	point := n.point.Load()
	if n.staging.Load() != nil {
		return countStart{live: point.Live}, nil
	}
	snap, err := n.tree.Snapshot()
	if err != nil {
		return countStart{}, err
	}
	d, err := readDigests(snap, point.LSN)
	snap.Release()
	if err != nil || d != nil {
		return countStart{d, point.Live + n.liveDrift}, err
	}
	n.logger.Info("making the digests from the B+tree", "checkpoint", point.LSN)
	t, err := tallyTree(n.tree)
	if err != nil {
		return countStart{}, err
	}
	return countStart{&t.digests, t.live}, nil
}

// digestCount keeps the digests up to date inside a transaction of the tree, and
// with them the sums of walks that are under way.
type digestCount struct {
	n       *Namespace
	digests *digests // nil: none are kept
	notes   dropNotes
	hasher  cellHasher

	passes []passChange
	bad    []int  // ranges that a cell was found damaged in
	marks  []Mark // the tree's after the transaction, unless nil
}

func newDigestCount(n *Namespace, start countStart) *digestCount {
	c := &digestCount{n: n, notes: dropNotes{}}
	if start.digests != nil {
		d := *start.digests
		c.digests = &d
	}
	for _, p := range n.passes {
		c.passes = append(c.passes, passChange{pass: p, change: new(digests)})
	}
	return c
}

// add counts a cell that the tree gets.
func (c *digestCount) add(key, cell []byte) { c.change(key, cell, liveLen(key, len(cell)), 1) }

// remove counts a cell that the tree loses, of which the header is given.
func (c *digestCount) remove(key, head []byte, cellLen int) {
	c.change(key, head, -liveLen(key, cellLen), minus)
}

// hide has a cell count no longer that stays in the tree.
func (c *digestCount) hide(key, head []byte) { c.change(key, head, 0, minus) }

const minus = ^uint64(0) // -1 modulo 2^64

// change adds a cell's hash times a factor, modulo 2^64, and to passes its length.
func (c *digestCount) change(key, head []byte, live int64, factor uint64) {
	if c.digests == nil {
		return
	}
	r, sum := c.hasher.hash(key, head)
	if sum *= factor; c.notes.hide(key) {
		sum = 0
	}
	c.digests[r] += sum
	for i := range c.passes {
		if p := &c.passes[i]; p.pass.has(r, key) {
			p.change[r] += sum
			p.live += live
		}
	}
}

// damaged notes that the tree has, or had, a damaged cell under key.
func (c *digestCount) damaged(key []byte) { c.bad = append(c.bad, digestRange(key)) }

// write stores the digests beside the checkpoint, and for a mark once more under
// its LSN. The oldest mark makes room.
func (c *digestCount) write(tx btree.Tx, point checkpoint, marked bool) error {
	if c.digests == nil {
		return nil
	}
	at := codec.Version{Epoch: point.Epoch, LSN: point.LSN}
	if err := c.digests.write(tx, codec.DigestsKey(), at); err != nil || !marked {
		return err
	}
	if err := c.digests.write(tx, codec.MarkKey(point.LSN), at); err != nil {
		return err
	}
	keys, err := keysUnder(tx, codec.MarkPrefix())
	if err != nil {
		return err
	}
	for len(keys) > keptMarks {
		if err := tx.Delete(keys[0]); err != nil {
			return err
		}
		keys = keys[1:]
	}
	c.marks = append([]Mark{{Epoch: at.Epoch, LSN: at.LSN, Digest: c.digests.total()}}, c.n.Marks()...)
	c.marks = c.marks[:min(len(c.marks), keptMarks)]
	return nil
}

// committed makes known what the transaction has brought.
func (c *digestCount) committed() {
	for _, p := range c.passes {
		for r, sum := range p.change {
			p.pass.sums[r] += sum
		}
		p.pass.live += p.live
	}
	c.n.liveDrift = 0
	for _, r := range c.bad {
		c.n.noteBad(r, "a flush met a damaged cell")
	}
	if c.marks != nil {
		c.n.marks.Store(&c.marks)
	}
}

// pass is a walk over the tree that adds cells up and goes on for longer than one
// snapshot. Transactions tell it what they change of what it has passed already, so
// that its sums are those of one state at any moment: the newest. Guarded by
// treeWriter.
type pass struct {
	only int    // one range, or -1: all
	upTo []byte // the cells below this key are in the sums; nil: none
	done bool   // all are
	sums digests
	live int64
}

// passChange is what a transaction changes of a pass.
type passChange struct {
	pass   *pass
	change *digests
	live   int64
}

// has reports whether the pass has added up the cell under key, of range r.
func (p *pass) has(r int, key []byte) bool {
	return (p.only < 0 || p.only == r) && (p.done || bytes.Compare(key, p.upTo) < 0)
}
