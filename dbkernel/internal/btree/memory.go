package btree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// memSnapshots is how many snapshots may be open at a time.
const memSnapshots = 1024

// memTree is the engine for tests: the tree is in memory, and a log of its
// commits in a vfs.FS, so that a test can cut the power at any operation and
// find a commit whole or not at all. See memory_log.go.
type memTree struct {
	gate *gate
	root atomic.Pointer[treap] // the last committed state
	size atomic.Int64          // of the log's file

	writer sync.Mutex // held by Update and Close
	log    *memLog    // belongs to writer's holder, as does failed
	failed error      // why no more updates are taken
}

func openMemory(o Options) (Tree, error) {
	if o.FS == nil {
		return nil, errors.New("the memory engine needs Options.FS")
	}
	path := filepath.Join(o.Dir, memFile)
	log, root, err := openMemLog(o.FS, o.Dir)
	if err != nil {
		return nil, advise(path, err)
	}
	t := &memTree{gate: newGate(memSnapshots), log: log}
	t.root.Store(root)
	t.size.Store(log.end)
	return t, nil
}

func (t *memTree) Update(fn func(Tx) error) error {
	t.writer.Lock()
	defer t.writer.Unlock()
	if t.gate.isClosed() {
		return ErrClosed
	}
	if t.failed != nil {
		return fmt.Errorf("%w: %w; open the tree again", ErrFailed, t.failed)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	x := &memTx{memView: memView{root: t.root.Load(), open: true}}
	defer x.end()
	if err := fn(x); err != nil {
		return err
	}
	if len(x.edits) == 0 {
		return nil
	}
	return t.commit(x)
}

func (t *memTree) commit(x *memTx) error {
	written, err := t.log.append(x.edits)
	if err != nil {
		if written {
			t.failed = err
		}
		return err
	}
	t.root.Store(x.root)
	if t.log.overgrown(x.root) {
		// The commit stands, whatever becomes of this.
		if err := t.log.replace(x.root); err != nil {
			t.failed = err
		}
	}
	t.size.Store(t.log.end)
	return nil
}

func (t *memTree) Snapshot() (Snapshot, error) {
	s := &memSnapshot{tree: t}
	if err := t.gate.enter(&s.ticket); err != nil {
		return nil, err
	}
	s.root, s.open = t.root.Load(), true
	return s, nil
}

func (t *memTree) Stats() (Stats, error) {
	var s Stats
	err := t.gate.visit(false, func() error {
		root := t.root.Load()
		s = Stats{Keys: uint64(root.count()), FileBytes: t.size.Load(), UsedBytes: int64(root.size())}
		return nil
	})
	if err != nil {
		return Stats{}, err
	}
	t.gate.describe(&s)
	return s, nil
}

func (t *memTree) Backup(w io.Writer) (n int64, err error) {
	err = t.gate.visit(true, func() error {
		f := &writerFile{w: w}
		err := (&memLog{f: f}).writeAll(t.root.Load())
		n = f.n
		return err
	})
	return n, err
}

func (t *memTree) Close() error {
	if !t.gate.close() {
		return ErrClosed
	}
	t.gate.drain()
	t.writer.Lock()
	defer t.writer.Unlock()
	t.root.Store(nil)
	return t.log.f.Close()
}

// writerFile is the part of a vfs.File that writing a log from its start needs.
type writerFile struct {
	vfs.File
	w io.Writer
	n int64
}

func (f *writerFile) WritevAt(bufs [][]byte, _ int64) (int, error) {
	total := 0
	for _, b := range bufs {
		n, err := f.w.Write(b)
		total += n
		f.n += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (f *writerFile) Sync() error { return nil }

// memView reads a state: that of a snapshot, or of a transaction as it changes.
type memView struct {
	mu   sync.Mutex
	root *treap
	open bool
}

// state returns the current root.
func (v *memView) state() (*treap, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.open {
		return nil, ErrEnded
	}
	return v.root, nil
}

// end closes the view and reports whether it was open.
func (v *memView) end() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.open
	v.open, v.root = false, nil
	return was
}

func (v *memView) Get(key []byte) ([]byte, bool, error) {
	root, err := v.state()
	if err == nil {
		err = checkKey(key)
	}
	if err != nil {
		return nil, false, err
	}
	n := root.get(key)
	if n == nil {
		return nil, false, nil
	}
	return append([]byte{}, n.val...), true, nil
}

func (v *memView) Head(key []byte) (start []byte, valueLen int, found bool, err error) {
	val, found, err := v.Get(key)
	if err != nil || !found {
		return nil, 0, false, err
	}
	return head(val), len(val), true, nil
}

func (v *memView) Cursor() (Cursor, error) {
	if _, err := v.state(); err != nil {
		return nil, err
	}
	return &memCursor{view: v}, nil
}

type memSnapshot struct {
	tree *memTree
	memView
	ticket
}

func (s *memSnapshot) Release() {
	if s.end() {
		s.tree.gate.leave(&s.ticket)
	}
}

type memTx struct {
	memView
	edits []byte // as the log has them
}

func (x *memTx) Put(key, value []byte) error { return x.write(key, value, false) }

func (x *memTx) Delete(key []byte) error { return x.write(key, nil, true) }

func (x *memTx) write(key, value []byte, del bool) error {
	if err := checkKey(key); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.open {
		return ErrEnded
	}
	x.edits = appendEdit(x.edits, key, value, del)
	if del {
		x.root = x.root.remove(key)
	} else {
		x.root = x.root.put(bytes.Clone(key), append([]byte{}, value...))
	}
	return nil
}

func (x *memTx) Apply(edits []Edit, old func(i int, head []byte, valueLen int) error) error {
	for i := range edits {
		e := &edits[i]
		if err := checkEdit(edits, i); err != nil {
			return err
		}
		root, err := x.state()
		if err != nil {
			return err
		}
		if err := x.write(e.Key, e.Value, e.Delete); err != nil {
			return err
		}
		if old == nil {
			continue
		}
		before := root.get(e.Key)
		if before == nil {
			err = old(i, nil, 0)
		} else {
			err = old(i, head(before.val), len(before.val))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Purge removes by key: in memory no key lies out of order.
func (x *memTx) Purge(low []byte, look func(key, value []byte) PurgeStep) error {
	return purgeByKey(x, low, look)
}

// memCursor looks each move up from the root: that is fast enough, and right
// while a transaction writes.
type memCursor struct {
	view   *memView
	at     *treap // nil: at no pair
	closed bool
	err    error
}

func (c *memCursor) Err() error { return c.err }

func (c *memCursor) Close() { c.closed, c.at = true, nil }

func (c *memCursor) Key() []byte {
	if c.at == nil {
		return nil
	}
	return c.at.key
}

func (c *memCursor) Value() []byte {
	if c.at == nil {
		return nil
	}
	return c.at.val
}

func (c *memCursor) Seek(key []byte) bool {
	return c.move(func(root *treap) *treap { return root.from(key, false) })
}

func (c *memCursor) SeekBefore(key []byte) bool {
	return c.move(func(root *treap) *treap { return root.before(key) })
}

func (c *memCursor) Next() bool {
	if c.at == nil {
		return false
	}
	return c.move(func(root *treap) *treap { return root.from(c.at.key, true) })
}

func (c *memCursor) Prev() bool {
	if c.at == nil {
		return false
	}
	return c.move(func(root *treap) *treap { return root.before(c.at.key) })
}

func (c *memCursor) move(step func(root *treap) *treap) bool {
	root, err := c.view.state()
	if c.closed {
		err = ErrEnded
	}
	if err != nil {
		c.at = nil
		if c.err == nil {
			c.err = err
		}
		return false
	}
	c.at = step(root)
	return c.at != nil
}
