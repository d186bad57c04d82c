package btree

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// boltGet copies a value out of the map.
func boltGet(b *bolt.Bucket, key []byte) (val []byte, found bool, err error) {
	if err := checkKey(key); err != nil {
		return nil, false, err
	}
	err = guard(func() error {
		// Unlike Get, Seek tells an empty value from an absent one.
		k, v := b.Cursor().Seek(key)
		if k != nil && bytes.Equal(k, key) {
			val, found = append(make([]byte, 0, len(v)), v...), true
		}
		return nil
	})
	return val, found, err
}

// boltHead copies the beginning of a value out of the map.
func boltHead(b *bolt.Bucket, key []byte) (start []byte, valueLen int, found bool, err error) {
	if err := checkKey(key); err != nil {
		return nil, 0, false, err
	}
	err = guard(func() error {
		k, v := b.Cursor().Seek(key)
		if k != nil && bytes.Equal(k, key) {
			start, valueLen, found = append([]byte{}, head(v)...), len(v), true
		}
		return nil
	})
	return start, valueLen, found, err
}

// boltSnapshot is a Snapshot.
type boltSnapshot struct {
	tree *boltTree
	ticket

	mu     sync.RWMutex // shared while pages are read
	tx     *bolt.Tx     // nil once released
	bucket *bolt.Bucket
}

func (s *boltSnapshot) Get(key []byte) ([]byte, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.tx == nil {
		return nil, false, ErrEnded
	}
	return boltGet(s.bucket, key)
}

func (s *boltSnapshot) Head(key []byte) ([]byte, int, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.tx == nil {
		return nil, 0, false, ErrEnded
	}
	return boltHead(s.bucket, key)
}

func (s *boltSnapshot) Cursor() (Cursor, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.tx == nil {
		return nil, ErrEnded
	}
	return &boltCursor{owner: s, bucket: s.bucket, cur: s.bucket.Cursor()}, nil
}

func (s *boltSnapshot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil {
		return
	}
	_ = s.tx.Rollback() // of a read: it can only fail when it was rolled back before
	s.tx, s.bucket = nil, nil
	s.tree.gate.leave(&s.ticket)
}

func (s *boltSnapshot) hold() error {
	s.mu.RLock()
	if s.tx == nil {
		s.mu.RUnlock()
		return ErrEnded
	}
	return nil
}

func (s *boltSnapshot) letGo() { s.mu.RUnlock() }

func (s *boltSnapshot) version() uint64 { return 0 }

// boltTx is the transaction of an update.
type boltTx struct {
	tree   *boltTree
	tx     *bolt.Tx // nil once ended
	bucket *bolt.Bucket
	ver    uint64 // raised by every write
	keys   int64  // added less deleted
	broken error  // a panic of bbolt: what it left behind can't be committed
}

func (x *boltTx) begin() error {
	return x.run(func() (err error) {
		if x.tx, err = x.tree.db.Begin(true); err != nil {
			return err
		}
		x.bucket = x.tx.Bucket(boltBucket)
		return nil
	})
}

// run runs fn on bbolt's pages. After a panic the transaction is lost.
func (x *boltTx) run(fn func() error) error {
	if x.broken != nil {
		return x.broken
	}
	var inner error
	if err := guard(func() error { inner = fn(); return nil }); err != nil {
		x.broken = err
		return err
	}
	return inner
}

func (x *boltTx) commit() error {
	err := x.run(func() error {
		if x.keys != 0 {
			n := binary.LittleEndian.AppendUint64(nil, boltKeys(x.tx)+uint64(x.keys))
			if err := x.tx.Bucket(boltMeta).Put(boltKeysKey, n); err != nil {
				return err
			}
		}
		return x.tx.Commit()
	})
	if err != nil {
		return x.tree.fail(err)
	}
	x.tx = nil
	return nil
}

// end rolls back what wasn't committed. If bbolt can't even do that, it may hold
// its writer lock for good, and no later update must wait for it.
func (x *boltTx) end() {
	tx := x.tx
	x.tx, x.bucket = nil, nil
	if tx == nil {
		return
	}
	err := guard(func() error {
		_ = tx.Rollback() // fails where a failed commit has rolled back already
		return nil
	})
	if err != nil {
		x.tree.failed, x.tree.stuck = err, true
	}
}

func (x *boltTx) check(key []byte) error {
	if x.tx == nil {
		return ErrEnded
	}
	return checkKey(key)
}

func (x *boltTx) Get(key []byte) (val []byte, found bool, err error) {
	if err := x.check(key); err != nil {
		return nil, false, err
	}
	err = x.run(func() error {
		val, found, err = boltGet(x.bucket, key)
		return err
	})
	return val, found, err
}

func (x *boltTx) Head(key []byte) (head []byte, valueLen int, found bool, err error) {
	if err := x.check(key); err != nil {
		return nil, 0, false, err
	}
	err = x.run(func() error {
		head, valueLen, found, err = boltHead(x.bucket, key)
		return err
	})
	return head, valueLen, found, err
}

func (x *boltTx) Cursor() (Cursor, error) {
	if x.tx == nil {
		return nil, ErrEnded
	}
	return &boltCursor{owner: x, bucket: x.bucket, cur: x.bucket.Cursor()}, nil
}

func (x *boltTx) Put(key, value []byte) error {
	if err := x.check(key); err != nil {
		return err
	}
	return x.write(&Edit{Key: key, Value: value}, nil)
}

func (x *boltTx) Delete(key []byte) error {
	if err := x.check(key); err != nil {
		return err
	}
	return x.write(&Edit{Key: key, Delete: true}, nil)
}

func (x *boltTx) Apply(edits []Edit, old func(i int, head []byte, valueLen int) error) error {
	if x.tx == nil {
		return ErrEnded
	}
	var before boltOld
	for i := range edits {
		if err := checkEdit(edits, i); err != nil {
			return err
		}
		if err := x.write(&edits[i], &before); err != nil {
			return err
		}
		if old == nil {
			continue
		}
		if err := old(i, before.reported(), before.length); err != nil {
			return err
		}
	}
	return nil
}

// Purge removes by key: bbolt knows no other way, so that what no search finds
// can't be removed.
func (x *boltTx) Purge(low []byte, look func(key, value []byte) PurgeStep) error {
	return purgeByKey(x, low, look)
}

// boltOld is what an edit met.
type boltOld struct {
	head   [HeadLen]byte
	length int
	found  bool
}

func (o *boltOld) reported() []byte {
	if !o.found {
		return nil
	}
	return head(o.head[:min(o.length, HeadLen)])
}

// write makes one edit and, if asked, says what it met.
func (x *boltTx) write(e *Edit, before *boltOld) error {
	x.ver++
	return x.run(func() error {
		k, v := x.bucket.Cursor().Seek(e.Key)
		found := k != nil && bytes.Equal(k, e.Key)
		if before != nil {
			before.found, before.length = found, 0
			if found {
				before.length = len(v)
				copy(before.head[:], v)
			}
		}
		if e.Delete {
			if !found {
				return nil
			}
			x.keys--
			return x.bucket.Delete(e.Key)
		}
		if !found {
			x.keys++
		}
		// bbolt keeps the value until the commit, and copies the key.
		return x.bucket.Put(e.Key, bytes.Clone(e.Value))
	})
}

func (x *boltTx) hold() error {
	if x.tx == nil {
		return ErrEnded
	}
	return x.broken
}

func (x *boltTx) letGo() {}

func (x *boltTx) version() uint64 { return x.ver }

// boltOwner is what a cursor reads from: a snapshot or a transaction.
type boltOwner interface {
	// version is a number that changes with every write to the owner.
	version() uint64
	// hold keeps the owner from ending until letGo.
	hold() error
	letGo()
}

// boltCursor copies each pair out of the map.
type boltCursor struct {
	owner  boltOwner
	bucket *bolt.Bucket
	cur    *bolt.Cursor
	ver    uint64 // the owner's when the cursor moved last
	valid  bool
	closed bool
	key    []byte
	val    []byte
	err    error
}

func (c *boltCursor) Err() error { return c.err }

func (c *boltCursor) Close() { c.closed, c.valid = true, false }

func (c *boltCursor) Key() []byte {
	if !c.valid {
		return nil
	}
	return c.key
}

func (c *boltCursor) Value() []byte {
	if !c.valid {
		return nil
	}
	return c.val
}

func (c *boltCursor) Seek(key []byte) bool {
	return c.move(func() ([]byte, []byte) {
		if len(key) == 0 {
			return c.cur.First()
		}
		return c.cur.Seek(key)
	})
}

func (c *boltCursor) SeekBefore(key []byte) bool {
	return c.move(func() ([]byte, []byte) {
		switch {
		case key == nil:
			return c.last()
		case len(key) == 0:
			return nil, nil
		}
		return c.before(key)
	})
}

func (c *boltCursor) before(key []byte) ([]byte, []byte) {
	if k, _ := c.cur.Seek(key); k == nil {
		return c.last()
	}
	return c.prev(key)
}

// last is bbolt's Last, which doesn't return where a transaction has emptied
// every page of several.
func (c *boltCursor) last() ([]byte, []byte) {
	if k, _ := c.bucket.Cursor().First(); k == nil {
		return nil, nil
	}
	return c.cur.Last()
}

// prev is bbolt's Prev from the key given or from between it and the one before.
// bbolt stops at pages that a transaction has emptied, as if nothing came before.
func (c *boltCursor) prev(key []byte) ([]byte, []byte) {
	k, v := c.cur.Prev()
	if k != nil {
		return k, v
	}
	first, _ := c.bucket.Cursor().First()
	for k == nil && first != nil && bytes.Compare(first, key) < 0 {
		k, v = c.cur.Prev()
	}
	return k, v
}

func (c *boltCursor) Next() bool {
	if !c.valid {
		return false
	}
	return c.move(func() ([]byte, []byte) {
		if c.owner.version() == c.ver {
			return c.cur.Next()
		}
		// bbolt's cursors don't follow writes: look again for where it was.
		k, v := c.cur.Seek(c.key)
		if k != nil && bytes.Equal(k, c.key) {
			return c.cur.Next()
		}
		return k, v
	})
}

func (c *boltCursor) Prev() bool {
	if !c.valid {
		return false
	}
	return c.move(func() ([]byte, []byte) {
		if c.owner.version() == c.ver {
			return c.prev(c.key)
		}
		return c.before(c.key)
	})
}

func (c *boltCursor) move(step func() (k, v []byte)) bool {
	if c.closed {
		return c.stop(ErrEnded)
	}
	if err := c.owner.hold(); err != nil {
		return c.stop(err)
	}
	defer c.owner.letGo()
	err := guard(func() error {
		k, v := step()
		c.valid = k != nil
		c.ver = c.owner.version()
		c.key = append(c.key[:0], k...)
		c.val = append(slices.Grow(c.val[:0], len(v)), v...)
		return nil
	})
	if err != nil {
		return c.stop(err)
	}
	return c.valid
}

func (c *boltCursor) stop(err error) bool {
	c.valid = false
	if c.err == nil {
		c.err = err
	}
	return false
}
