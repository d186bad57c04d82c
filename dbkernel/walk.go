package dbkernel

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
)

// treeWalk walks the pairs of a key range in the order in which the tree has them,
// one pair ahead, so that it meets a key that lies where it doesn't belong: damage
// inside a page that changes a key leaves the page's order wrong, and searches then
// miss that key, its neighbours, or both. On a sound tree it is a plain walk.
type treeWalk struct {
	r      keyRange
	cursor btree.Cursor

	key, cell []byte // the current pair, valid until next
	stray     bool   // the current key isn't where its order says

	ahead struct {
		key, cell []byte
		valid     bool
	}
	last    []byte // the last key that wasn't a stray
	started bool
	keyless error // a pair without a key was met: no range can repair that
}

// walkTree begins a walk, which must be closed before its reader ends.
func walkTree(from btree.Reader, r keyRange) (*treeWalk, error) {
	c, err := from.Cursor()
	if err != nil {
		return nil, err
	}
	return &treeWalk{r: r, cursor: c}, nil
}

func (w *treeWalk) close()     { w.cursor.Close() }
func (w *treeWalk) err() error { return errors.Join(w.keyless, w.cursor.Err()) }

// next moves to the next pair; false at the end of the range, or with an error. A
// key beyond the range that lies between two keys of the range doesn't end it.
func (w *treeWalk) next() bool {
	if !w.started {
		w.started = true
		w.look(w.cursor.Seek(w.r.low))
	} else if w.key != nil && !w.stray {
		w.last = append(w.last[:0], w.key...)
	}
	if !w.ahead.valid || w.err() != nil {
		return false
	}
	w.key, w.ahead.key = w.ahead.key, w.key
	w.cell, w.ahead.cell = w.ahead.cell, w.cell
	w.look(w.cursor.Next())
	w.stray = w.isStray()
	beyond := w.r.high != nil && bytes.Compare(w.key, w.r.high) >= 0
	return w.err() == nil && (!beyond || w.stray)
}

// look takes the pair that the cursor is on.
func (w *treeWalk) look(there bool) {
	w.ahead.valid = there
	if there {
		w.ahead.key = append(w.ahead.key[:0], w.cursor.Key()...)
		if len(w.ahead.key) == 0 {
			w.keyless = fmt.Errorf("%w: a pair in it has no key", btree.ErrDamaged)
		}
		w.ahead.cell = append(w.ahead.cell[:0], w.cursor.Value()...)
	}
}

// isStray reports whether it is the current key that breaks the order: without it
// the key before and the key behind fit together.
func (w *treeWalk) isStray() bool {
	if w.last != nil && bytes.Compare(w.key, w.last) <= 0 {
		return true
	}
	return w.ahead.valid && bytes.Compare(w.ahead.key, w.key) < 0 &&
		(w.last == nil || bytes.Compare(w.ahead.key, w.last) > 0)
}

// mayBreak reports whether the walk may be left in front of the current key and
// taken up again by a search for it: it lies in order with what is on both sides.
func (w *treeWalk) mayBreak() bool {
	return !w.stray && bytes.Compare(w.key, w.r.low) > 0 &&
		(!w.ahead.valid || bytes.Compare(w.key, w.ahead.key) < 0)
}
