//go:build cgo

package btree

import (
	"sync"

	"github.com/unisondb/unisondb/dbkernel/internal/lmdb"
)

// lmdbScratch bounds the buffer that values are read into before they are copied.
const lmdbScratch = 32 << 10

// lmdbReader is a read transaction that is used again and again. While it is idle
// it is either reset, and pins no pages but keeps its slot; or warm: still at the
// newest commit, so that it can be taken again at once. A warm one pins nothing
// that the newest state doesn't have, and the next update cools it first.
type lmdbReader struct {
	txn     *lmdb.Txn
	cur     *lmdb.Cursor // kept for the next cursor; nil while one has it
	scratch []byte
	warm    bool
	commits uint64 // the tree's when it began: what it sees is at least that new
}

// takeReader admits a snapshot and begins its read transaction.
func (t *lmdbTree) takeReader(k *ticket) (*lmdbReader, error) {
	t.gate.mu.Lock()
	if err := t.gate.enterLocked(k); err != nil {
		t.gate.mu.Unlock()
		return nil, err
	}
	var r *lmdbReader
	if n := len(t.idle); n > 0 {
		r = t.idle[n-1]
		t.idle = t.idle[:n-1]
	}
	commits := t.commits
	t.gate.mu.Unlock()

	if r != nil && r.warm {
		r.warm = false
		return r, nil
	}
	var err error
	if r == nil {
		r = new(lmdbReader)
		r.txn, err = t.env.BeginTxn(nil, lmdb.Readonly)
	} else if err = r.txn.Renew(); err != nil {
		r.free()
	}
	if err != nil {
		t.gate.leave(k)
		return nil, lmdbErr(err)
	}
	r.commits = commits
	return r, nil
}

// putReader ends a snapshot. Its read transaction stays warm if nothing was
// committed since it began and no update is under way.
func (t *lmdbTree) putReader(r *lmdbReader, k *ticket) {
	t.gate.mu.Lock()
	keep := len(t.idle) < lmdbIdleReaders
	if keep && r.commits == t.commits && !t.updating {
		r.warm = true
		t.idle = append(t.idle, r)
		t.gate.leaveLocked(k)
		t.gate.mu.Unlock()
		return
	}
	t.gate.mu.Unlock()

	if keep {
		r.txn.Reset()
	} else {
		r.free()
	}
	t.gate.mu.Lock()
	if keep {
		t.idle = append(t.idle, r)
	}
	t.gate.leaveLocked(k)
	t.gate.mu.Unlock()
}

// beginUpdate cools the idle readers and lets none stay warm until endUpdate.
func (t *lmdbTree) beginUpdate() {
	t.gate.mu.Lock()
	t.updating = true
	t.coolLocked()
	t.gate.mu.Unlock()
}

func (t *lmdbTree) endUpdate() {
	t.gate.mu.Lock()
	t.updating = false
	t.commits++
	t.gate.mu.Unlock()
}

// coolLocked resets the idle readers.
func (t *lmdbTree) coolLocked() {
	for _, r := range t.idle {
		r.txn.Reset() // does nothing to one that is reset
		r.warm = false
	}
}

func (r *lmdbReader) free() {
	if r.cur != nil {
		r.cur.Close()
	}
	r.txn.Abort()
}

// getLMDB reads one value into memory of its own. It goes through scratch, so
// that one call across cgo does for all but large values.
func getLMDB(txn *lmdb.Txn, dbi lmdb.DBI, key []byte, scratch *[]byte) ([]byte, bool, error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	n, err := txn.GetTo(dbi, key, *scratch)
	if err != nil {
		if lmdb.IsNotFound(err) {
			return nil, false, nil
		}
		return nil, false, lmdbErr(err)
	}
	if n <= len(*scratch) {
		read := (*scratch)[:n]
		val := make([]byte, len(read))
		copy(val, read)
		return val, true, nil
	}
	val := make([]byte, n)
	if _, err := txn.GetTo(dbi, key, val); err != nil {
		return nil, false, lmdbErr(err)
	}
	if n <= lmdbScratch {
		*scratch = make([]byte, min(2*n, lmdbScratch))
	}
	return val, true, nil
}

// headLMDB reads the beginning of a value.
func headLMDB(txn *lmdb.Txn, dbi lmdb.DBI, key []byte) (head []byte, valueLen int, found bool, err error) {
	if err := checkKey(key); err != nil {
		return nil, 0, false, err
	}
	head = make([]byte, HeadLen)
	n, err := txn.GetHead(dbi, key, head)
	if lmdb.IsNotFound(err) {
		return nil, 0, false, nil
	}
	if err != nil {
		return nil, 0, false, lmdbErr(err)
	}
	return head[:min(n, HeadLen)], n, true, nil
}

// lmdbSnapshot is a Snapshot. It is a new object each time, while its reader is
// not: so that one used after its release hurts nobody.
type lmdbSnapshot struct {
	tree *lmdbTree
	ticket

	mu      sync.Mutex
	reader  *lmdbReader // nil once released
	cursors []*lmdbCursor
}

func (t *lmdbTree) Snapshot() (Snapshot, error) {
	s := &lmdbSnapshot{tree: t}
	r, err := t.takeReader(&s.ticket)
	if err != nil {
		return nil, err
	}
	s.reader = r
	return s, nil
}

func (s *lmdbSnapshot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reader
	if r == nil {
		return
	}
	for _, c := range s.cursors {
		c.dropLocked(r)
	}
	s.cursors, s.reader = nil, nil
	s.tree.putReader(r, &s.ticket)
}

func (s *lmdbSnapshot) Get(key []byte) ([]byte, bool, error) {
	s.mu.Lock()
	if s.reader == nil {
		s.mu.Unlock()
		return nil, false, ErrEnded
	}
	val, found, err := getLMDB(s.reader.txn, s.tree.dbi, key, &s.reader.scratch)
	s.mu.Unlock()
	return val, found, err
}

func (s *lmdbSnapshot) Head(key []byte) ([]byte, int, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader == nil {
		return nil, 0, false, ErrEnded
	}
	return headLMDB(s.reader.txn, s.tree.dbi, key)
}

func (s *lmdbSnapshot) Cursor() (Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reader
	if r == nil {
		return nil, ErrEnded
	}
	cur := r.cur
	if cur != nil {
		r.cur = nil
		if err := cur.Renew(r.txn); err != nil {
			cur.Close()
			return nil, lmdbErr(err)
		}
	} else {
		var err error
		if cur, err = r.txn.OpenCursor(s.tree.dbi); err != nil {
			return nil, lmdbErr(err)
		}
	}
	c := newLMDBCursor(s, cur)
	s.cursors = append(s.cursors, c)
	return c, nil
}

// An lmdbSnapshot is an lmdbOwner for its cursors.

func (s *lmdbSnapshot) version() uint64 { return 0 }

func (s *lmdbSnapshot) hold() error {
	s.mu.Lock()
	if s.reader == nil {
		s.mu.Unlock()
		return ErrEnded
	}
	return nil
}

func (s *lmdbSnapshot) letGo() { s.mu.Unlock() }

func (s *lmdbSnapshot) drop(c *lmdbCursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, open := range s.cursors {
		if open == c {
			s.cursors[i] = s.cursors[len(s.cursors)-1]
			s.cursors = s.cursors[:len(s.cursors)-1]
			c.dropLocked(s.reader)
			return
		}
	}
}

// dropLocked gives the cursor's handle back to its reader.
func (c *lmdbCursor) dropLocked(r *lmdbReader) {
	if r.cur == nil {
		r.cur = c.cur
	} else {
		c.cur.Close()
	}
	c.cur = nil
}

// lmdbOwner is what a cursor reads from: a snapshot or a transaction.
type lmdbOwner interface {
	// version is a number that changes with every write to the owner.
	version() uint64
	// hold keeps the owner from ending until letGo.
	hold() error
	letGo()
	// drop ends the cursor.
	drop(c *lmdbCursor)
}

// lmdbCursor reads pairs in batches, one call across cgo for each, and moves
// within the batch in both directions. Batches start small and get larger as the
// scan goes on.
type lmdbCursor struct {
	owner lmdbOwner
	cur   *lmdb.Cursor // nil once dropped
	pairs *lmdb.Pairs  // nil once closed
	back  bool         // pairs descend
	at    int          // the current pair; -1: none
	ver   uint64       // the owner's when pairs were read
	limit int          // pairs to read next
	bound []byte       // a copy of the key that a read starts from
	err   error
}

const lmdbFirstBatch = 4

var lmdbPairs sync.Pool // of *lmdb.Pairs

func newLMDBCursor(o lmdbOwner, cur *lmdb.Cursor) *lmdbCursor {
	pairs, ok := lmdbPairs.Get().(*lmdb.Pairs)
	if !ok {
		pairs = new(lmdb.Pairs)
	}
	return &lmdbCursor{owner: o, cur: cur, pairs: pairs, at: -1, limit: lmdbFirstBatch}
}

func (c *lmdbCursor) Close() {
	if c.pairs == nil {
		return
	}
	c.owner.drop(c)
	c.pairs.Reset()
	lmdbPairs.Put(c.pairs)
	c.pairs, c.at = nil, -1
}

func (c *lmdbCursor) Err() error { return c.err }

func (c *lmdbCursor) Key() []byte {
	if c.at < 0 {
		return nil
	}
	k, _ := c.pairs.Pair(c.at)
	return k
}

func (c *lmdbCursor) Value() []byte {
	if c.at < 0 {
		return nil
	}
	_, v := c.pairs.Pair(c.at)
	return v
}

func (c *lmdbCursor) Seek(key []byte) bool {
	c.limit = lmdbFirstBatch
	if len(key) == 0 {
		return c.read(lmdb.FromFirst, nil)
	}
	return c.read(lmdb.AtOrAfter, key)
}

func (c *lmdbCursor) SeekBefore(key []byte) bool {
	c.limit = lmdbFirstBatch
	switch {
	case key == nil:
		return c.read(lmdb.FromLast, nil)
	case len(key) == 0:
		c.at = -1
		return false
	}
	return c.read(lmdb.Before, key)
}

func (c *lmdbCursor) Next() bool { return c.move(false) }
func (c *lmdbCursor) Prev() bool { return c.move(true) }

// move goes on by one pair: within the batch, or into the next one.
func (c *lmdbCursor) move(back bool) bool {
	if c.at < 0 {
		return false
	}
	stale := c.owner.version() != c.ver
	if !stale {
		step := 1
		if back != c.back {
			step = -1
		}
		if to := c.at + step; to >= 0 && to < c.pairs.Len() {
			c.at = to
			return true
		}
		if step > 0 && c.pairs.End() {
			c.at = -1
			return false
		}
	}
	c.limit = min(4*c.limit, lmdb.MaxScanPairs)
	switch {
	case stale || back != c.back:
		begin := lmdb.After
		if back {
			begin = lmdb.Before
		}
		return c.read(begin, c.Key())
	case back:
		return c.read(lmdb.Backward, nil)
	default:
		return c.read(lmdb.Onward, nil)
	}
}

// read fetches a batch and moves to its first pair.
func (c *lmdbCursor) read(begin lmdb.Begin, key []byte) bool {
	if c.pairs == nil {
		return c.stop(ErrEnded)
	}
	// key may lie in the batch that is about to be overwritten.
	c.bound = append(c.bound[:0], key...)
	if err := c.owner.hold(); err != nil {
		return c.stop(err)
	}
	err := c.cur.Scan(c.pairs, begin, c.bound, c.limit)
	c.owner.letGo()
	if err != nil {
		return c.stop(lmdbErr(err))
	}
	c.back = begin == lmdb.Before || begin == lmdb.FromLast || begin == lmdb.Backward
	c.ver = c.owner.version()
	c.at = -1
	if c.pairs.Len() > 0 {
		c.at = 0
	}
	return c.at == 0
}

func (c *lmdbCursor) stop(err error) bool {
	c.at = -1
	if c.err == nil {
		c.err = err
	}
	return false
}
