package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Tx is a transaction: it reads the newest state and its own writes, and its
// writes become visible together at the commit, or not at all. Transactions of
// one namespace are serializable. Methods lock, so that requests may share an
// interactive one; those inside Update are for one goroutine.
type Tx struct {
	n  *Namespace
	id string // of an interactive one

	mu       sync.Mutex
	view     *View // inside Update: the one view that all reads share
	ended    bool
	began    time.Time
	used     time.Time
	reads    map[string]read
	checked  uint64 // the LSN at which all reads were last known to hold
	writes   map[string]txWrite
	order    []string // keys of writes, as they came
	rows     [][]byte // prefixes of rows that are deleted before the writes
	objects  map[string]*upload
	newest   *upload // the object written last
	vanished []vanishing
	size     int
	puts     bool
}

// read is what a transaction saw: one cell, or all of a row's.
type read struct {
	row     bool
	version Version // empty: it wasn't there
}

type txWrite struct {
	delete bool
	value  []byte
	expiry codec.Expiry
}

// vanishing is an object that the transaction deletes.
type vanishing struct{ key []byte }

func newTx(n *Namespace) *Tx {
	return &Tx{n: n, reads: map[string]read{}, writes: map[string]txWrite{}}
}

// Update runs fn in a transaction and commits it. Where something that fn read
// has changed meanwhile, fn is run again on the newest state, so it must not
// have effects of its own. An error of fn ends it with nothing written. If fn
// wrote nothing, the position is where it read.
func (n *Namespace) Update(ctx context.Context, fn func(*Tx) error) (Position, error) {
	if err := n.acquire(); err != nil {
		return Position{}, err
	}
	defer n.release()
	for {
		pos, err := n.tryUpdate(ctx, fn)
		var stale *staleError
		if !errors.As(err, &stale) {
			return pos, err
		}
		if err := n.advanced.wait(ctx, func() bool { return n.readLSN() >= stale.retryAt || n.frozen.Load() != nil }); err != nil {
			return Position{}, err
		}
	}
}

func (n *Namespace) tryUpdate(ctx context.Context, fn func(*Tx) error) (Position, error) {
	v, err := n.View()
	if err != nil {
		return Position{}, err
	}
	defer v.Close()
	t := newTx(n)
	t.view = v
	if err := fn(t); err != nil {
		return Position{}, err
	}
	if t.empty() {
		return v.Position(), nil
	}
	b, g, err := t.encode(v)
	if err != nil {
		return Position{}, err
	}
	v.Close() // the commit may wait for a flush, and a flush for old views
	return n.commitBatch(ctx, b, g, !t.puts)
}

func (t *Tx) empty() bool {
	return len(t.order) == 0 && len(t.rows) == 0 && len(t.objects) == 0 && len(t.vanished) == 0
}

// reading opens what a read of the transaction reads from. done ends it.
func (t *Tx) reading() (v *View, done func(), err error) {
	if t.ended {
		return nil, nil, ErrTxNotFound
	}
	if t.view != nil {
		return t.view, func() {}, nil
	}
	if v, err = t.n.View(); err != nil {
		return nil, nil, err
	}
	if err := t.validate(v); err != nil {
		v.Close()
		return nil, nil, err
	}
	return v, v.Close, nil
}

// validate checks that all that was read before is still so at the view's LSN.
func (t *Tx) validate(v *View) error {
	if v.lsn == t.checked {
		return nil
	}
	for key, r := range t.reads {
		now, err := v.versionUnder([]byte(key), r.row)
		if err != nil {
			return err
		}
		if now != r.version {
			return fmt.Errorf("%w: something that the transaction read was changed by somebody else: begin again", ErrConflict)
		}
	}
	t.checked = v.lsn
	return nil
}

// Position is where all that the transaction has read so far holds; LSN 0 before it
// has read anything but its own writes.
func (t *Tx) Position() Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.view != nil {
		return t.view.Position()
	}
	return t.n.positionAt(t.checked)
}

// versionUnder is the version of a cell, or of the row with that prefix.
func (v *View) versionUnder(key []byte, row bool) (Version, error) {
	if !row {
		c, found, err := v.cell(key)
		if err != nil || !found {
			return "", err
		}
		return versionOf(c.Version), nil
	}
	var r rowReader
	it := v.iterate(keyRange{key, codec.PrefixEnd(key)}, false)
	defer it.close()
	for it.next() {
		if err := r.add(it.key, it.cell); err != nil {
			return "", err
		}
	}
	if it.err != nil || r.cells == 0 {
		return "", it.err
	}
	return r.version(), nil
}

// Get reads a key. ErrNotFound. A value that the transaction itself wrote has no version yet.
func (t *Tx) Get(key []byte) (Value, error) {
	if err := checkKey(key); err != nil {
		return Value{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	cell := codec.KVKey(key)
	if w, ok := t.writes[string(cell)]; ok {
		if w.delete {
			return Value{}, ErrNotFound
		}
		return Value{Data: w.value}, nil
	}
	v, done, err := t.reading()
	if err != nil {
		return Value{}, err
	}
	defer done()
	value, err := v.Get(key)
	if err == nil || errors.Is(err, ErrNotFound) {
		t.reads[string(cell)] = read{version: value.Version}
	}
	return value, err
}

// GetRow reads a row as View.GetRow does.
func (t *Tx) GetRow(row []byte, columns []string) (Row, error) {
	if err := checkKey(row); err != nil {
		return Row{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	prefix := codec.RowPrefix(row)
	r := Row{Columns: map[string][]byte{}}
	if !t.dropsRow(prefix) {
		v, done, err := t.reading()
		if err != nil {
			return Row{}, err
		}
		defer done()
		stored, err := v.GetRow(row, nil)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Row{}, err
		}
		if err == nil {
			r = stored
		}
		t.reads[string(prefix)] = read{row: true, version: stored.Version}
	}
	for key, w := range t.writes {
		if !bytes.HasPrefix([]byte(key), prefix) {
			continue
		}
		_, column, err := codec.SplitColumnKey([]byte(key))
		if err != nil {
			return Row{}, err
		}
		if w.delete {
			delete(r.Columns, column)
		} else {
			r.Columns[column] = w.value
		}
	}
	if len(r.Columns) == 0 {
		return Row{}, ErrNotFound
	}
	if columns != nil {
		for column := range r.Columns {
			if !slices.Contains(columns, column) {
				delete(r.Columns, column)
			}
		}
	}
	return r, nil
}

func (t *Tx) dropsRow(prefix []byte) bool {
	return slices.ContainsFunc(t.rows, func(p []byte) bool { return bytes.Equal(p, prefix) })
}

// StatObject describes a large object. ErrNotFound.
func (t *Tx) StatObject(key []byte) (Object, error) {
	if err := checkKey(key); err != nil {
		return Object{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.objects[string(key)]; u != nil {
		return Object{Key: key, Size: u.size, CRC32: u.crc}, nil
	}
	if t.vanishes(key) {
		return Object{}, ErrNotFound
	}
	v, done, err := t.reading()
	if err != nil {
		return Object{}, err
	}
	defer done()
	o, err := v.StatObject(key)
	if err == nil || errors.Is(err, ErrNotFound) {
		t.reads[string(codec.ManifestKey(key))] = read{version: o.Version}
	}
	return o, err
}

func (t *Tx) vanishes(key []byte) bool {
	return slices.ContainsFunc(t.vanished, func(v vanishing) bool { return bytes.Equal(v.key, key) })
}

// CheckKey answers ErrConditionFailed where the condition on a key doesn't hold.
func (t *Tx) CheckKey(key []byte, c Cond) error {
	v, err := t.Get(key)
	return c.holds(v.Version, err)
}

// CheckRow is CheckKey for a row.
func (t *Tx) CheckRow(row []byte, c Cond) error {
	r, err := t.GetRow(row, nil)
	return c.holds(r.Version, err)
}

// CheckObject is CheckKey for a large object.
func (t *Tx) CheckObject(key []byte, c Cond) error {
	o, err := t.StatObject(key)
	return c.holds(o.Version, err)
}

// holds compares with what a read answered.
func (c Cond) holds(now Version, err error) error {
	absent := errors.Is(err, ErrNotFound)
	if err != nil && !absent {
		return err
	}
	switch {
	case c.IfAbsent && !absent:
		return fmt.Errorf("%w: it exists already, with version %q", ErrConditionFailed, now)
	case c.IfExists && absent:
		return fmt.Errorf("%w: it doesn't exist", ErrConditionFailed)
	case c.IfVersion != "" && absent:
		return fmt.Errorf("%w: it doesn't exist, version %q was expected", ErrConditionFailed, c.IfVersion)
	case c.IfVersion != "" && now != c.IfVersion:
		return fmt.Errorf("%w: it has version %q, %q was expected: read it again", ErrConditionFailed, now, c.IfVersion)
	}
	return nil
}

// write buffers a write of a cell; a later one of the same cell replaces it.
func (t *Tx) write(key []byte, w txWrite) error {
	if t.ended {
		return ErrTxNotFound
	}
	size := t.size + len(key) + len(w.value)
	if old, ok := t.writes[string(key)]; ok {
		size -= len(key) + len(old.value)
	}
	if err := checkBatch(size); err != nil {
		return err
	}
	if _, ok := t.writes[string(key)]; !ok {
		t.order = append(t.order, string(key))
	}
	t.size = size
	t.writes[string(key)] = w
	t.puts = t.puts || !w.delete
	return nil
}

// Put sets a key, which expires after ttl unless that is 0.
func (t *Tx) Put(key, value []byte, ttl time.Duration) error {
	if err := errors.Join(checkKey(key), checkValue(value), checkTTL(ttl)); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(codec.KVKey(key), txWrite{value: slices.Clone(value), expiry: codec.Expiry{TTL: int64(ttl)}})
}

// Delete removes a key; an absent one is no error.
func (t *Tx) Delete(key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(codec.KVKey(key), txWrite{delete: true})
}

// Touch gives a key a new expiry, none if ttl is 0, and keeps its value. ErrNotFound.
func (t *Tx) Touch(key []byte, ttl time.Duration) error {
	v, err := t.Get(key)
	if err != nil {
		return err
	}
	return t.Put(key, v.Data, ttl)
}

// PutRow sets columns of a row and leaves its others as they are.
func (t *Tx) PutRow(row []byte, columns map[string][]byte, ttl time.Duration) error {
	if len(columns) == 0 {
		return fmt.Errorf("%w: a row needs at least one column", ErrInvalid)
	}
	for column, value := range columns {
		if err := errors.Join(checkColumn(row, column), checkValue(value), checkTTL(ttl)); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for column, value := range columns {
		w := txWrite{value: slices.Clone(value), expiry: codec.Expiry{TTL: int64(ttl)}}
		if err := t.write(codec.ColumnKey(row, column), w); err != nil {
			return err
		}
	}
	return nil
}

// DeleteRow removes a row; an absent one is no error.
func (t *Tx) DeleteRow(row []byte) error {
	if err := checkKey(row); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return ErrTxNotFound
	}
	prefix := codec.RowPrefix(row)
	t.order = slices.DeleteFunc(t.order, func(key string) bool {
		gone := bytes.HasPrefix([]byte(key), prefix)
		if gone {
			t.size -= len(key) + len(t.writes[key].value)
			delete(t.writes, key)
		}
		return gone
	})
	if !t.dropsRow(prefix) {
		t.rows = append(t.rows, prefix)
		t.size += len(prefix)
	}
	return checkBatch(t.size)
}

// DeleteColumns removes columns of a row; absent ones are no error.
func (t *Tx) DeleteColumns(row []byte, columns []string) error {
	if len(columns) == 0 {
		return fmt.Errorf("%w: name at least one column", ErrInvalid)
	}
	for _, column := range columns {
		if err := checkColumn(row, column); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, column := range columns {
		if err := t.write(codec.ColumnKey(row, column), txWrite{delete: true}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteObject removes a large object; an absent one is no error.
func (t *Tx) DeleteObject(key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return ErrTxNotFound
	}
	if u := t.objects[string(key)]; u != nil {
		return fmt.Errorf("%w: the transaction already writes object %q: abort it, or leave the object", ErrInvalid, key)
	}
	if !t.vanishes(key) {
		t.vanished = append(t.vanished, vanishing{key: slices.Clone(key)})
	}
	return nil
}

// encode makes the record's operations, as of the view, and the guard under
// which they hold. Rows go first: a record's own puts outlive its row deletes.
func (t *Tx) encode(v *View) (*codec.Builder, *guard, error) {
	b := &codec.Builder{}
	b.Grow(t.size + 32*len(t.order) + 64)
	g := &guard{asOf: v.lsn}
	for key, r := range t.reads {
		if r.row {
			g.ranges = append(g.ranges, keyRange{[]byte(key), codec.PrefixEnd([]byte(key))})
		} else {
			g.keys = append(g.keys, []byte(key))
		}
	}
	for _, prefix := range t.rows {
		b.DeleteRow(prefix)
	}
	for _, key := range t.order {
		if w := t.writes[key]; w.delete {
			b.Delete([]byte(key))
		} else {
			b.Put([]byte(key), w.value, w.expiry)
		}
	}
	if err := t.encodeObjects(v, b, g); err != nil {
		return nil, nil, err
	}
	if len(g.keys) == 0 && len(g.ranges) == 0 {
		g = nil
	}
	return b, g, nil
}
