package dbkernel

import (
	"bytes"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/memtable"
)

// cells walks the live cells of a range at a view's LSN, merging the memtables
// and the tree.
type cells struct {
	v       *View
	r       keyRange
	reverse bool
	mems    []*memtable.Iterator
	tree    btree.Cursor
	inTree  bool // the tree's cursor stands on a key of the range
	started bool

	// skip, unless it is nil, names cells to pass over unread.
	skip func(key []byte) bool
	// budget, unless it is 0, ends the walk behind about this many bytes of the tree,
	// skipped ones included. spent says so, and that key is the first one left out.
	budget int
	spent  bool
	walked int

	key     []byte
	skipped []byte // memory for key where it was skipped
	cell    codec.Cell
	err     error
}

func (c *cells) spends() bool { return c.budget > 0 && c.walked > c.budget }

func (v *View) iterate(r keyRange, reverse bool) *cells {
	c := &cells{v: v, r: r, reverse: reverse}
	for _, m := range v.mems {
		if m.Keys() > 0 {
			c.mems = append(c.mems, m.Iterate(v.lsn))
		}
	}
	c.tree, c.err = v.snap.Cursor()
	return c
}

func (c *cells) close() {
	if c.tree != nil {
		c.tree.Close()
	}
}

// next moves to the next live cell.
func (c *cells) next() bool {
	for c.err == nil {
		if !c.started {
			c.seek()
			c.started = true
		} else {
			c.step()
		}
		key := c.least()
		if key == nil {
			break
		}
		if c.inTree {
			c.walked += len(c.tree.Key()) + len(c.tree.Value())
		}
		if c.skip != nil && c.skip(key) && !c.spends() {
			c.skipped = append(c.skipped[:0], key...)
			c.key = c.skipped
			continue
		}
		c.key = append([]byte(nil), key...)
		if c.spends() {
			c.spent = true
			break
		}
		var found bool
		c.cell, found, c.err = c.v.resolve(c.key, c.treeValue)
		if found && c.err == nil {
			return true
		}
	}
	if c.err == nil && c.tree.Err() != nil {
		c.err = c.v.n.treeError(c.tree.Err())
	}
	return false
}

func (c *cells) seek() {
	for _, it := range c.mems {
		if c.reverse {
			it.SeekBefore(c.r.high)
		} else {
			it.Seek(c.r.low)
		}
	}
	if c.reverse {
		c.inTree = c.tree.SeekBefore(c.r.high)
	} else {
		c.inTree = c.tree.Seek(c.r.low)
	}
}

// step moves every source off the current key.
func (c *cells) step() {
	for _, it := range c.mems {
		if it.Valid() && bytes.Equal(it.Key(), c.key) {
			if c.reverse {
				it.Prev()
			} else {
				it.Next()
			}
		}
	}
	if c.inTree && bytes.Equal(c.tree.Key(), c.key) {
		if c.reverse {
			c.inTree = c.tree.Prev()
		} else {
			c.inTree = c.tree.Next()
		}
	}
}

// least is the key that comes first among the sources, nil at the end.
func (c *cells) least() []byte {
	var least []byte
	consider := func(key []byte) {
		if !c.r.holds(key) {
			return
		}
		if least == nil || (bytes.Compare(key, least) < 0) != c.reverse {
			least = key
		}
	}
	for _, it := range c.mems {
		if it.Valid() {
			consider(it.Key())
		}
	}
	if c.inTree {
		consider(c.tree.Key())
	}
	return least
}

// treeValue is what the tree has under the current key. The bytes are copied:
// they outlive the cursor's next move.
func (c *cells) treeValue() ([]byte, bool, error) {
	if !c.inTree || !bytes.Equal(c.tree.Key(), c.key) {
		return nil, false, nil
	}
	return append([]byte(nil), c.tree.Value()...), true, nil
}
