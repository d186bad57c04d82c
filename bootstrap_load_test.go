package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// ledger is what a hub has acknowledged: for every key, row and object the number
// of its last write, from which its bytes follow. Nothing is stored.
type ledger struct {
	mu      sync.Mutex
	keys    map[string]uint64
	rows    map[string]uint64
	objects map[string]uint64
	live    int64 // bytes that all cells take in a snapshot's chunks
	least   int64 // the lowest that live was since mark
	last    client.Position
}

func newLedger() *ledger {
	return &ledger{keys: map[string]uint64{}, rows: map[string]uint64{}, objects: map[string]uint64{}}
}

const (
	keyBytes    = 6 << 10 // of a key's value, at least; twice as many at most
	columnBytes = 1 << 10
	columns     = 3
	objectBytes = 200 << 10
	cellBytes   = 36 // what a cell has beside key and value in a chunk, about
)

// noise is n bytes that follow from a name and a number, and don't compress.
func noise(name string, number uint64, n int) []byte {
	var seed [32]byte
	copy(seed[8:], name)
	binary.LittleEndian.PutUint64(seed[:], number)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b) // it never fails
	return b
}

func keyValue(key string, number uint64) []byte {
	return noise(key, number, keyBytes+int(number*2654435761%keyBytes))
}

func rowColumns(row string, number uint64) map[string][]byte {
	c := map[string][]byte{}
	for i := range columns {
		name := fmt.Sprintf("c%d", i)
		c[name] = noise(row+name, number, columnBytes)
	}
	return c
}

func objectOf(key string, number uint64) []byte { return noise(key, number, objectBytes) }

// The bytes of each in a snapshot's chunks.
func keyCost(key string, number uint64) int64 {
	return int64(cellBytes + len(key) + keyBytes + int(number*2654435761%keyBytes))
}

func rowCost(row string) int64 { return int64(columns * (cellBytes + 2*len(row) + columnBytes)) }
func objectCost(key string) int64 {
	return int64(2*cellBytes + 32 + len(key) + objectBytes)
}

// note changes the ledger after a write was acknowledged.
func (l *ledger) note(p client.Position, change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.least = min(l.least, l.live)
	if p.Follows(l.last) {
		l.last = p
	}
}

func (l *ledger) setKey(key string, number uint64) {
	l.dropKey(key)
	l.keys[key] = number
	l.live += keyCost(key, number)
}

func (l *ledger) dropKey(key string) {
	if old, ok := l.keys[key]; ok {
		l.live -= keyCost(key, old)
		delete(l.keys, key)
	}
}

func (l *ledger) setRow(row string, number uint64) {
	l.dropRow(row)
	l.rows[row] = number
	l.live += rowCost(row)
}

func (l *ledger) dropRow(row string) {
	if _, ok := l.rows[row]; ok {
		l.live -= rowCost(row)
		delete(l.rows, row)
	}
}

func (l *ledger) setObject(key string, number uint64) {
	if _, ok := l.objects[key]; !ok {
		l.live += objectCost(key)
	}
	l.objects[key] = number
}

// size is how large a snapshot is, and from here on least is counted anew.
func (l *ledger) size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.least = l.live
	return l.live
}

func (l *ledger) leastSize() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.least
}

func (l *ledger) lastPosition() client.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// writer writes keys, rows and objects of its own. What isn't acknowledged it
// writes again: every write may come twice.
type writer struct {
	id     int
	ledger *ledger
	client *client.Client
	rng    *rand.Rand
	number uint64   // of the last write
	keys   []string // that are there, in no order
	made   int      // keys ever made
}

func newWriter(id int, l *ledger, c *client.Client, seed uint64) *writer {
	return &writer{id: id, ledger: l, client: c, rng: rand.New(rand.NewPCG(seed, uint64(id)))}
}

func (w *writer) newKey() string {
	w.made++
	return fmt.Sprintf("w%d/%06d", w.id, w.made)
}

func (w *writer) row(i int) string    { return fmt.Sprintf("w%d/r%03d", w.id, i) }
func (w *writer) object(i int) string { return fmt.Sprintf("w%d/o%03d", w.id, i) }

// fill writes new keys, rows and objects until there are so many bytes of them.
func (w *writer) fill(ctx context.Context, size int64) error {
	var written int64
	for i := 0; written < size; i++ {
		var err error
		switch {
		case i%10 == 8 && i/10 < 40:
			err = w.putRow(ctx, w.row(i/10))
			written += rowCost(w.row(0))
		case i%10 == 9 && i/10 < 8:
			err = w.putObject(ctx, w.object(i/10))
			written += objectCost(w.object(0))
		default:
			keys := make([]string, 24)
			for j := range keys {
				keys[j] = w.newKey()
			}
			if err = w.put(ctx, keys); err == nil {
				w.keys = append(w.keys, keys...)
			}
			written += int64(len(keys)) * (keyBytes * 3 / 2)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change does one of everything that can be done to what is there, so that there
// is about as much afterwards.
func (w *writer) change(ctx context.Context) error {
	switch n := w.rng.IntN(10); {
	case n < 5:
		var keys []string
		for range 3 {
			keys = append(keys, w.keys[w.rng.IntN(len(w.keys))])
		}
		slices.Sort(keys)
		return w.put(ctx, slices.Compact(keys))
	case n < 8:
		i := w.rng.IntN(len(w.keys))
		old, key := w.keys[i], w.newKey()
		w.keys[i] = key
		return errors.Join(w.put(ctx, []string{key}), w.drop(ctx, old))
	case n < 9:
		row := w.row(w.rng.IntN(40))
		if w.rng.IntN(2) == 0 {
			return w.dropRow(ctx, row)
		}
		return w.putRow(ctx, row)
	default:
		return w.putObject(ctx, w.object(w.rng.IntN(8)))
	}
}

func (w *writer) put(ctx context.Context, keys []string) error {
	w.number++
	number := w.number
	items := make([]client.KeyValue, len(keys))
	for i, key := range keys {
		items[i] = client.KeyValue{Key: []byte(key), Value: keyValue(key, number)}
	}
	return w.acknowledged(ctx, func() (client.Position, error) { return w.client.KV().PutAll(ctx, items) }, func() {
		for _, key := range keys {
			w.ledger.setKey(key, number)
		}
	})
}

func (w *writer) drop(ctx context.Context, key string) error {
	return w.acknowledged(ctx, func() (client.Position, error) { return w.client.KV().Delete(ctx, []byte(key)) },
		func() { w.ledger.dropKey(key) })
}

func (w *writer) putRow(ctx context.Context, row string) error {
	w.number++
	number := w.number
	return w.acknowledged(ctx, func() (client.Position, error) {
		return w.client.Rows().Put(ctx, []byte(row), rowColumns(row, number))
	}, func() { w.ledger.setRow(row, number) })
}

func (w *writer) dropRow(ctx context.Context, row string) error {
	return w.acknowledged(ctx, func() (client.Position, error) { return w.client.Rows().Delete(ctx, []byte(row)) },
		func() { w.ledger.dropRow(row) })
}

func (w *writer) putObject(ctx context.Context, key string) error {
	w.number++
	number := w.number
	return w.acknowledged(ctx, func() (client.Position, error) {
		up, err := w.client.Objects().Put(ctx, []byte(key), bytes.NewReader(objectOf(key, number)), objectBytes)
		return up.Position, err
	}, func() { w.ledger.setObject(key, number) })
}

// acknowledged does a write until it is acknowledged, and notes it.
func (w *writer) acknowledged(ctx context.Context, op func() (client.Position, error), note func()) error {
	var p client.Position
	err := until(ctx, func() (err error) {
		p, err = op()
		return err
	})
	if err == nil {
		w.ledger.note(p, note)
	}
	return err
}

// keepChanging changes something at every tick until ctx ends.
func (w *writer) keepChanging(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		// One that was begun is brought to its end: the ledger knows of every write.
		if err := w.change(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

// check reads everything from a node that has seen the last write, byte for byte.
func (l *ledger) check(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	l.checkKeys(ctx, t, c)
	l.checkRows(ctx, t, c)
	for key, number := range l.objects {
		if err := readObject(ctx, c, key, objectOf(key, number)); err != nil {
			t.Errorf("object %s: %v", key, err)
		}
	}
	for object, err := range c.Objects().List(ctx, client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := l.objects[string(object.Key)]; !ok {
			t.Errorf("object %s was never written", object.Key)
		}
	}
}

func (l *ledger) checkKeys(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	left := maps.Clone(l.keys)
	for item, err := range c.KV().List(ctx, client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		key := string(item.Key)
		number, ok := left[key]
		if !ok {
			t.Errorf("key %s was deleted or never written", key)
		} else if !bytes.Equal(item.Value, keyValue(key, number)) {
			t.Errorf("key %s has another value than that of write %d", key, number)
		}
		delete(left, key)
	}
	if len(left) > 0 {
		t.Errorf("%d of %d keys are missing, one of them %s", len(left), len(l.keys), slices.Sorted(maps.Keys(left))[0])
	}
}

func (l *ledger) checkRows(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	left := maps.Clone(l.rows)
	for row, err := range c.Rows().List(ctx, client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		key := string(row.Key)
		number, ok := left[key]
		if !ok {
			t.Errorf("row %s was deleted or never written", key)
		} else if !maps.EqualFunc(row.Columns, rowColumns(key, number), bytes.Equal) {
			t.Errorf("row %s has other columns than those of write %d", key, number)
		}
		delete(left, key)
	}
	if len(left) > 0 {
		t.Errorf("%d of %d rows are missing", len(left), len(l.rows))
	}
}

func readObject(ctx context.Context, c *client.Client, key string, want []byte) error {
	r, err := c.Objects().Get(ctx, []byte(key))
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%d bytes that were not put there; %d were", len(got), len(want))
	}
	return err
}
