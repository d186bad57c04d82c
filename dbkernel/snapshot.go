package dbkernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// KeyRange is a range of cell keys: from Start on, up to End and without it. A
// nil or empty Start is the beginning of the keyspace, a nil or empty End its end.
type KeyRange struct{ Start, End []byte }

func (r KeyRange) cloned() KeyRange { return KeyRange{bytes.Clone(r.Start), bytes.Clone(r.End)} }

// Chunk is all cells of a key range as they were at one record: a part of a
// snapshot.
type Chunk struct {
	KeyRange
	Epoch, LSN uint64 // of the record
	// Cells are, in the order of their keys: uvarint length of the key, the key,
	// uvarint length of the cell, the cell as the B+tree stores it. Each cell
	// carries its version, its expiry and a checksum.
	Cells []byte
	Count int // cells
}

// SnapshotEnd completes the chunks of a snapshot. With the log up to LSN, which
// is behind the records that its chunks were read at, they are the state that the
// owner was in.
type SnapshotEnd struct {
	LSN, Epoch uint64
	Uploads    map[[16]byte]int64 // objects whose manifest is still to come, with their bytes so far
	Records    uint64             // batch records up to LSN
}

// snapshotKeys is where the cells lie that a snapshot has: all but the tree's own.
var snapshotKeys = keyRange{[]byte{codec.TypeKV}, []byte{codec.TypeSystem}}

// within is the part of the range that a snapshot has cells in.
func (r KeyRange) within() keyRange {
	k := snapshotKeys
	if bytes.Compare(r.Start, k.low) > 0 {
		k.low = r.Start
	}
	if len(r.End) > 0 && bytes.Compare(r.End, k.high) < 0 {
		k.high = r.End
	}
	return k
}

// ReadChunk reads the cells of a range from r.Start on, about maxBytes of them
// but at least one, at the newest committed state. The chunk's End says how far it
// got: it is r.End where all of the range is in. The state is that of the records
// alone: a cell that is due by the clock is there until a record removes it. The
// tree's own cells and the chunks of dropped objects are never in it. Every cell was
// checked: ErrDamaged.
func (n *Namespace) ReadChunk(ctx context.Context, r KeyRange, maxBytes int) (Chunk, error) {
	v, err := n.CommittedView()
	if err != nil {
		return Chunk{}, err
	}
	defer v.Close()
	pos := v.Position()
	c := Chunk{KeyRange: r.cloned(), Epoch: pos.Epoch, LSN: pos.LSN}
	dropped, err := readNotes(v.snap)
	if err != nil {
		return Chunk{}, asDamage(err)
	}
	w := chunkWriter{c: &c, maxBytes: maxBytes, deadline: time.Now().Add(scanTime)}
	for at := r.within(); at.low != nil; {
		if at.low, err = v.writeChunk(ctx, &w, at, dropped); err != nil {
			return Chunk{}, err
		}
	}
	return c, nil
}

// writeChunk adds the cells of a range. It answers the key to go on from: behind
// the chunks of an object that was dropped, or nil where the chunk ends.
func (v *View) writeChunk(ctx context.Context, w *chunkWriter, r keyRange, dropped dropNotes) (from []byte, err error) {
	it := v.iterate(r, false)
	defer it.close()
	for it.next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if dropped.hide(it.key) {
			return codec.PrefixEnd(it.key[:len(it.key)-8]), nil // behind all that the object has
		}
		if !w.add(it.key, it.cell) {
			w.c.End = it.key
			return nil, nil
		}
	}
	return nil, asDamage(it.err)
}

// chunkWriter fills a chunk within its bounds.
type chunkWriter struct {
	c        *Chunk
	maxBytes int
	deadline time.Time
}

// add adds a cell, if it still belongs into the chunk. The first one always does.
func (w *chunkWriter) add(key []byte, cell codec.Cell) bool {
	c := w.c
	size := len(key) + codec.CellHeaderLen + len(cell.Value)
	if c.Count > 0 && (len(c.Cells)+size > w.maxBytes || time.Now().After(w.deadline)) {
		return false
	}
	c.Cells = binary.AppendUvarint(slices.Grow(c.Cells, size+2*binary.MaxVarintLen32), uint64(len(key)))
	c.Cells = append(c.Cells, key...)
	c.Cells = binary.AppendUvarint(c.Cells, uint64(codec.CellHeaderLen+len(cell.Value)))
	c.Cells = codec.AppendCell(c.Cells, key, cell)
	c.Count++
	return true
}

// each calls fn for the chunk's cells, unchecked, in their order.
func (c Chunk) each(fn func(key, cell []byte) error) error {
	for rest := c.Cells; len(rest) > 0; {
		var key, cell []byte
		var ok bool
		if key, rest, ok = cutBytes(rest); ok {
			cell, rest, ok = cutBytes(rest)
		}
		if !ok {
			return fmt.Errorf("%w: a chunk's cells are cut off", ErrDamaged)
		}
		if err := fn(key, cell); err != nil {
			return err
		}
	}
	return nil
}

// cutBytes takes a uvarint length and that many bytes off b.
func cutBytes(b []byte) (p, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return b[n:end:end], b[end:], true
}

// check holds the chunk's cells against the chunk: their order, their range, their
// checksums, their versions. It answers the bytes of keys and values.
func (c Chunk) check() (live int64, err error) {
	var last []byte
	keys, count := c.within(), 0
	err = c.each(func(key, b []byte) error {
		if !keys.holds(key) || len(key) > codec.MaxCellKey || bytes.Compare(key, last) <= 0 {
			return fmt.Errorf("%w: key %x doesn't belong behind %x into the range from %x up to %x", ErrDamaged, key, last, c.Start, c.End)
		}
		cell, err := codec.DecodeCell(key, b)
		if err != nil {
			return asDamage(err)
		}
		if cell.Version.LSN > c.LSN || cell.Version.Epoch > c.Epoch {
			return fmt.Errorf("%w: the cell under %x is of LSN %d, its chunk of %d", ErrDamaged, key, cell.Version.LSN, c.LSN)
		}
		last = key
		live += int64(len(key) + len(cell.Value))
		count++
		return nil
	})
	if err == nil && count != c.Count {
		err = fmt.Errorf("%w: the chunk has %d cells and claims %d", ErrDamaged, count, c.Count)
	}
	return live, err
}

// store writes a checked chunk into a staged tree, which has no cells in its range:
// the cells, their entries in the expiry index, and the chunk's own entry.
func (c Chunk) store(tx btree.Tx) error {
	var edits, index []btree.Edit
	flush := func() error {
		err := tx.Apply(edits, nil)
		edits = edits[:0]
		return err
	}
	err := c.each(func(key, b []byte) error {
		cell, err := codec.DecodeCellHeader(key, b)
		if err != nil {
			return err
		}
		if cell.Expiry != 0 {
			index = append(index, btree.Edit{Key: codec.ExpiryKey(cell.Expiry, key)})
		}
		if edits = append(edits, btree.Edit{Key: key, Value: b}); len(edits) < flushBatchEdits {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	slices.SortFunc(index, func(a, b btree.Edit) int { return bytes.Compare(a.Key, b.Key) })
	if err := tx.Apply(index, nil); err != nil {
		return err
	}
	return StagedChunk{KeyRange: c.KeyRange, Epoch: c.Epoch, LSN: c.LSN}.write(tx)
}

// dropCells deletes the cells of a range from a staged tree, with their entries in
// the expiry index. It answers their bytes of keys and values.
func dropCells(tx btree.Tx, r KeyRange) (live int64, err error) {
	keys, err := keysIn(tx, r.within())
	if err != nil {
		return 0, err
	}
	var index []btree.Edit
	for batch := range slices.Chunk(keys, flushBatchEdits) {
		edits := make([]btree.Edit, len(batch))
		for i, key := range batch {
			edits[i] = btree.Edit{Key: key, Delete: true}
		}
		err := tx.Apply(edits, func(i int, head []byte, valueLen int) error {
			old, err := codec.DecodeCellHeader(batch[i], head)
			if err != nil {
				return err
			}
			live += int64(len(batch[i]) + valueLen - codec.CellHeaderLen)
			if old.Expiry != 0 {
				index = append(index, btree.Edit{Key: codec.ExpiryKey(old.Expiry, batch[i]), Delete: true})
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	slices.SortFunc(index, func(a, b btree.Edit) int { return bytes.Compare(a.Key, b.Key) })
	return live, tx.Apply(index, nil)
}

// SnapshotEnd says what completes the chunks that were read before the call: its
// LSN is not below any of theirs, and committed. On a replica it may have to wait
// for the owner's commit LSN.
func (n *Namespace) SnapshotEnd(ctx context.Context) (SnapshotEnd, error) {
	if n.staged {
		return SnapshotEnd{}, n.notReady()
	}
	if err := n.acquire(); err != nil {
		return SnapshotEnd{}, err
	}
	defer n.release()
	end := SnapshotEnd{Uploads: map[[16]byte]int64{}}
	var failure error
	if err := n.inCommitter(ctx, func() { failure = n.settledEnd(&end) }); err != nil || failure != nil {
		return SnapshotEnd{}, errors.Join(err, failure)
	}
	err := n.advanced.wait(ctx, func() bool {
		if failure = n.ended(); failure != nil || n.commit.Load() >= end.LSN {
			return true
		}
		if err := n.frozen.Load(); err != nil {
			failure = *err
		}
		return failure != nil
	})
	if failure != nil {
		err = failure
	}
	return end, err
}

// settledEnd reads what the committer knows between two groups.
func (n *Namespace) settledEnd(end *SnapshotEnd) error {
	n.syncNow()
	end.LSN = n.applied.Load()
	if n.mems.Load().active().last > end.LSN { // a group whose sync failed is in it
		return n.writable()
	}
	end.Epoch = epochAt(*n.epochs.Load(), end.LSN)
	for id, size := range n.uploads {
		end.Uploads[id] = size
	}
	n.memsMu.Lock() // a flush moves records from a table to the checkpoint
	defer n.memsMu.Unlock()
	end.Records = n.point.Load().Records
	for _, m := range n.mems.Load().tables {
		end.Records += m.records
	}
	return nil
}

// SnapshotCost says roughly what copying the namespace costs, in bytes: by the log,
// from its first record on, and by a snapshot.
func (n *Namespace) SnapshotCost() (logBytes, snapshotBytes int64) {
	if n.staged || n.acquireLog() != nil {
		return 0, 0
	}
	defer n.releaseLog()
	if list := n.mems.Load(); list != nil {
		for _, m := range list.tables {
			snapshotBytes += m.Live()
		}
	}
	snapshotBytes += n.point.Load().Live
	return n.log.BytesBetween(n.log.FirstLSN(), n.appended.Load()), snapshotBytes
}
