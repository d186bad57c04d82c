//go:build cgo

package btree

import (
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/lmdb"
)

const (
	// Apply hands edits to LMDB in batches of this many, and of about this many
	// bytes; buffers that a large value made larger than that are not kept.
	lmdbBatchEdits = 256
	lmdbBatchBytes = 256 << 10
)

const (
	// writebackBytes is how many bytes of keys and values an update has at least whose
	// pages begin to be written before all have been copied; fewer are copied before it
	// would begin.
	writebackBytes    = 4 << 20
	writebackInterval = 20 * time.Millisecond
)

var lmdbBatches sync.Pool // of *lmdb.Batch

// lmdbTx is the transaction of an update.
type lmdbTx struct {
	tree    *lmdbTree
	txn     *lmdb.Txn // nil once ended
	cur     *lmdb.Cursor
	scratch []byte
	ver     uint64 // raised by every write
	written int    // bytes of keys and values
	room    int64  // bytes of the map behind the last page in use
	need    int64  // above 0: the map was too small, and this many bytes more were needed
}

// check refuses a transaction that has ended, and one whose map was found too
// small: it can only be run again.
func (x *lmdbTx) check() error {
	if x.txn == nil {
		return ErrEnded
	}
	if x.need > 0 {
		return &lmdb.OpError{Op: "update", Errno: lmdb.MapFull}
	}
	return nil
}

// note looks at the outcome of a write.
func (x *lmdbTx) note(err error) error {
	if lmdb.IsMapFull(err) {
		x.need = max(x.need, 1)
	}
	return lmdbErr(err)
}

func (x *lmdbTx) commit() error {
	txn := x.txn
	x.txn = nil
	stop := x.writeback()
	err := txn.Commit()
	stop()
	if lmdb.IsMapFull(err) {
		return x.note(err)
	}
	if err != nil {
		return x.tree.fail(err)
	}
	return nil
}

// writeback begins to write while a commit of many pages goes on.
func (x *lmdbTx) writeback() (stop func()) {
	fd, err := x.tree.env.FD()
	if err != nil || x.written < writebackBytes {
		return func() {}
	}
	return startWriteback(fd)
}

func (x *lmdbTx) end() {
	if x.txn != nil {
		x.txn.Abort()
		x.txn = nil
	}
}

func (x *lmdbTx) Get(key []byte) ([]byte, bool, error) {
	if err := x.check(); err != nil {
		return nil, false, err
	}
	return getLMDB(x.txn, x.tree.dbi, key, &x.scratch)
}

func (x *lmdbTx) Head(key []byte) ([]byte, int, bool, error) {
	if err := x.check(); err != nil {
		return nil, 0, false, err
	}
	return headLMDB(x.txn, x.tree.dbi, key)
}

func (x *lmdbTx) Cursor() (Cursor, error) {
	if err := x.check(); err != nil {
		return nil, err
	}
	cur, err := x.txn.OpenCursor(x.tree.dbi)
	if err != nil {
		return nil, lmdbErr(err)
	}
	return newLMDBCursor(x, cur), nil
}

func (x *lmdbTx) Put(key, value []byte) error {
	if err := x.check(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	x.ver++
	x.written += len(key) + len(value)
	return x.note(x.txn.Put(x.tree.dbi, key, value, 0))
}

func (x *lmdbTx) Delete(key []byte) error {
	if err := x.check(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	x.ver++
	err := x.txn.Del(x.tree.dbi, key, nil)
	if lmdb.IsNotFound(err) {
		return nil
	}
	return x.note(err)
}

func (x *lmdbTx) Apply(edits []Edit, old func(i int, head []byte, valueLen int) error) error {
	if err := x.check(); err != nil {
		return err
	}
	if err := x.expect(edits); err != nil {
		return err
	}
	if x.cur == nil {
		cur, err := x.txn.OpenCursor(x.tree.dbi)
		if err != nil {
			return lmdbErr(err)
		}
		x.cur = cur
	}
	batch, ok := lmdbBatches.Get().(*lmdb.Batch)
	if !ok {
		batch = new(lmdb.Batch)
	}
	defer func() {
		if batch.Size() <= 2*lmdbBatchBytes {
			batch.Reset()
			lmdbBatches.Put(batch)
		}
	}()
	x.ver++
	for from := 0; from < len(edits); {
		to, err := x.fill(batch, edits, from)
		if err != nil {
			return err
		}
		if err := x.note(x.cur.Apply(batch)); err != nil {
			return err
		}
		if err := report(batch, from, to, old); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// Purge goes pair by pair: LMDB removes what a cursor is on without a search.
func (x *lmdbTx) Purge(low []byte, look func(key, value []byte) PurgeStep) error {
	if err := x.check(); err != nil {
		return err
	}
	cur, err := x.txn.OpenCursor(x.tree.dbi)
	if err != nil {
		return lmdbErr(err)
	}
	defer cur.Close()
	x.ver++
	var pairs lmdb.Pairs
	begin := lmdb.AtOrAfter
	if len(low) == 0 {
		begin = lmdb.FromFirst
	}
	for {
		if err := cur.Scan(&pairs, begin, low, 1); err != nil {
			return lmdbErr(err)
		}
		if pairs.Len() == 0 {
			return nil
		}
		switch look(pairs.Pair(0)) {
		case PurgeDrop:
			if err := x.note(cur.Del(0)); err != nil {
				return err
			}
		case PurgeEnd:
			return nil
		}
		begin = lmdb.Onward // after a removal LMDB stands in front of the next one
	}
}

// fill takes edits into the batch, from the given one on, and returns the first
// that it left out.
func (x *lmdbTx) fill(batch *lmdb.Batch, edits []Edit, from int) (int, error) {
	batch.Reset()
	i := from
	for ; i < len(edits) && batch.Len() < lmdbBatchEdits && batch.Size() < lmdbBatchBytes; i++ {
		e := &edits[i]
		if err := checkEdit(edits, i); err != nil {
			return i, err
		}
		if e.Delete {
			batch.Delete(e.Key)
		} else {
			batch.Put(e.Key, e.Value)
		}
	}
	return i, nil
}

// report tells old about the edits [from, to), which the batch holds.
func report(batch *lmdb.Batch, from, to int, old func(i int, head []byte, valueLen int) error) error {
	if old == nil {
		return nil
	}
	for i := from; i < to; i++ {
		head, n := batch.Old(i - from)
		if err := old(i, head, n); err != nil {
			return err
		}
	}
	return nil
}

// expect asks for a larger map at once where the edits are not sure to fit,
// rather than at the end of the work. Each may copy a page and fill another, and
// a long value has pages of its own.
func (x *lmdbTx) expect(edits []Edit) error {
	want := int64(0)
	for i := range edits {
		want += 2*x.tree.pageSize + int64(len(edits[i].Value))
	}
	if x.written == 0 && want > x.room {
		x.need = want
		return x.check()
	}
	for i := range edits {
		x.written += len(edits[i].Key) + len(edits[i].Value)
	}
	return nil
}

// An lmdbTx is an lmdbOwner for its cursors.

func (x *lmdbTx) version() uint64 { return x.ver }

func (x *lmdbTx) hold() error { return x.check() }

func (x *lmdbTx) letGo() {}

func (x *lmdbTx) drop(c *lmdbCursor) {
	if c.cur != nil {
		c.cur.Close()
		c.cur = nil
	}
}
