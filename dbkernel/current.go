package dbkernel

import (
	"bytes"
	"context"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// ChangePage is a part of what a namespace holds, told as changes.
type ChangePage struct {
	// Position is where all of the page holds.
	Position Position
	// Changes are a put for each key, row and object, and for each key of the data
	// models. LSN and Epoch are those of the cell; of a row, those of the column that
	// was written last. Time isn't known.
	Changes []Change
	// Next is where the next page begins; nil: this was the last.
	Next []byte
}

// SnapshotChanges reads a page of the current state from a place on: nil, or what an
// earlier page, maybe of another node or before a restart, called Next. A page has
// at most limit changes (0: MaxPageItems), and about MaxPageLen bytes of them. The state
// is that of the records up to the commit LSN, what is due by the clock included.
//
// Each page is read from a view of its own, so no page keeps the B+tree's old pages while its
// changes are delivered, and each has its own position. They add up to the current
// state with the log behind the first page's position: who wants that opens a Tail
// there before reading the second. A record of it may be older than what a page said
// of its key; the LSNs tell.
func (n *Namespace) SnapshotChanges(ctx context.Context, from []byte, limit int) (ChangePage, error) {
	v, err := n.CommittedView()
	if err != nil {
		return ChangePage{}, err
	}
	defer v.Close()
	w := changePager{pager: newPager(Scan{Limit: limit}), page: ChangePage{Position: v.Position()}}
	for _, typ := range []byte{codec.TypeKV, codec.TypeRow, codec.TypeManifest, codec.TypeModel} {
		r := allOf(typ)
		if bytes.Compare(from, r.low) > 0 {
			r.low = from
		}
		if !r.holds(r.low) {
			continue // it lies before the place to begin at
		}
		if err := w.addAll(ctx, v, r); err != nil {
			return ChangePage{}, err
		}
		if w.page.Next != nil {
			break
		}
	}
	return w.page, nil
}

// changePager fills a page of changes within its bounds.
type changePager struct {
	pager
	page ChangePage
	open Change // that columns are still added to, or that is to be put on the page
	cell []byte // the cell key that open begins with; nil: there is none
	row  []byte // the encoded row that open is of, if it is one
}

// addAll adds the cells of a range, until the page is full.
func (w *changePager) addAll(ctx context.Context, v *View, r keyRange) error {
	it := v.iterate(r, false)
	defer it.close()
	for w.page.Next == nil && it.next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.add(it.key, it.cell); err != nil {
			return asDamage(err)
		}
	}
	if it.err != nil {
		return it.err
	}
	w.flush()
	return nil
}

// add adds a cell.
func (w *changePager) add(key []byte, cell codec.Cell) error {
	if w.row == nil || !bytes.HasPrefix(key, w.row) {
		if !w.flush() {
			return nil
		}
		w.cell, w.open = key, Change{}
	}
	op := codec.Op{Kind: codec.OpPut, Key: key}
	err := w.open.take(op, ChangePut, w.open.Operation == "")
	if key[0] == codec.TypeRow && w.row == nil {
		w.row, err = codec.RowPrefixOf(key)
	}
	if cell.Version.LSN > w.open.LSN {
		w.open.LSN, w.open.Epoch = cell.Version.LSN, cell.Version.Epoch
	}
	return err
}

// flush puts the open change on the page; false where that is full, so that the
// next one begins with it.
func (w *changePager) flush() bool {
	if w.cell == nil || w.page.Next != nil {
		return w.page.Next == nil
	}
	size := len(w.open.Key)
	for _, column := range w.open.Columns {
		size += len(column)
	}
	if w.late() || !w.fits(size) {
		w.page.Next = w.cell
		if w.row != nil {
			w.page.Next = w.row
		}
		return false
	}
	w.page.Changes = append(w.page.Changes, w.open)
	w.cell, w.row = nil, nil
	return true
}
