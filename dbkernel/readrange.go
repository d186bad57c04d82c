package dbkernel

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// rangeWalk is how much of the tree one view is walked for a digest range at most,
// in bytes: its cells are one in a thousand of those.
const rangeWalk = 64 << 20

// ReadRange reads the cells of one digest range, in key order from a key on (nil:
// from the first), about maxBytes of them, at the newest state that may be read
// here, as ReadChunk does. A range lies scattered over all keys: where the next of
// its cells is far, the chunk ends early, maybe without a cell, so that no view is
// held for long. c.Start is from, and c.End says how far the chunk got; more says
// that the range goes on from there. At the end of the range c.End is nil.
// ErrDamaged where the range is damaged here, too.
func (n *Namespace) ReadRange(ctx context.Context, r int, from []byte, maxBytes int) (c Chunk, more bool, err error) {
	if r < 0 || r >= DigestRanges {
		return Chunk{}, false, fmt.Errorf("%w digest range %d: there are %d", ErrInvalid, r, DigestRanges)
	}
	if n.staged {
		return Chunk{}, false, n.notReady()
	}
	if n.integrity.bad.has(r) {
		return Chunk{}, false, fmt.Errorf("%w: cells of digest range %d are damaged here, too: read it from another node", ErrDamaged, r)
	}
	if err := ctx.Err(); err != nil {
		return Chunk{}, false, err
	}
	if err := n.acquireUnused(); err != nil {
		return Chunk{}, false, err
	}
	v, err := n.view()
	if err != nil {
		n.release()
		return Chunk{}, false, err
	}
	defer v.Close()
	v.asOfCommit()
	pos := v.Position()
	c = Chunk{KeyRange: KeyRange{Start: bytes.Clone(from)}, Epoch: pos.Epoch, LSN: pos.LSN}
	notes, err := readNotes(v.snap)
	if err != nil {
		return Chunk{}, false, n.treeError(err)
	}
	it := v.iterate(c.within(), false)
	defer it.close()
	it.skip = func(key []byte) bool { return digestRange(key) != r || notes.hide(key) }
	it.budget = rangeWalk
	w := chunkWriter{c: &c, maxBytes: maxBytes, deadline: time.Now().Add(scanTime)}
	for it.next() {
		if !w.add(it.key, it.cell) {
			c.End = it.key
			return c, true, nil
		}
	}
	if it.err != nil {
		return Chunk{}, false, it.err
	}
	if it.spent {
		c.End = it.key
	}
	return c, it.spent, nil
}
