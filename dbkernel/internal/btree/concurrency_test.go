package btree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// Every state of these trees is uniform: all keys hold the same number. A
// reader that sees two numbers has seen two states.
const uniformKeys = 100

func writeUniform(tx Tx, n uint64, size int) error {
	edits := make([]Edit, uniformKeys)
	value := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(value, n)
	for i := range edits {
		edits[i] = Edit{Key: fmt.Appendf(nil, "key-%03d", i), Value: value}
	}
	return tx.Apply(edits, nil)
}

// readUniform returns the number that all keys hold.
func readUniform(r Reader) (uint64, error) {
	c, err := r.Cursor()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	n, keys := uint64(0), 0
	for ok := c.Seek(nil); ok; ok = c.Next() {
		if len(c.Value()) < 8 {
			return 0, fmt.Errorf("%s holds %x", c.Key(), c.Value())
		}
		v := binary.BigEndian.Uint64(c.Value())
		if keys == 0 {
			n = v
		}
		if v != n {
			return 0, fmt.Errorf("%s holds %d, the first key %d", c.Key(), v, n)
		}
		keys++
	}
	if c.Err() != nil {
		return 0, c.Err()
	}
	if keys != uniformKeys {
		return 0, fmt.Errorf("%d keys", keys)
	}
	v, found, err := r.Get([]byte("key-050"))
	if err != nil || !found || len(v) < 8 || binary.BigEndian.Uint64(v) != n {
		return 0, fmt.Errorf("get: %x, %t, %w", v, found, err)
	}
	return n, nil
}

func readOnce(tree Tree, last uint64) (uint64, error) {
	s, err := tree.Snapshot()
	if err != nil {
		return last, err
	}
	defer s.Release()
	n, err := readUniform(s)
	if err == nil && n < last {
		err = fmt.Errorf("state %d after %d", n, last)
	}
	return n, err
}

// TestReadersDuringGrowth writes ever larger values from a tiny map on, while
// readers, statistics and backups go on.
func TestReadersDuringGrowth(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		e.o.MapSize = 1 << 16
		tree := e.open(t)
		update(t, tree, func(tx Tx) error { return writeUniform(tx, 0, 0) })
		var done atomic.Bool
		var wg sync.WaitGroup
		background := func(name string, fn func() error) {
			wg.Go(func() {
				for !done.Load() {
					if err := fn(); err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
			})
		}
		for range 4 {
			last := uint64(0)
			background("reader", func() (err error) {
				last, err = readOnce(tree, last)
				return err
			})
		}
		background("stats", func() error {
			_, err := tree.Stats()
			return err
		})
		background("backup", func() error {
			_, err := tree.Backup(io.Discard)
			return err
		})
		for n := uint64(1); n <= 30; n++ {
			update(t, tree, func(tx Tx) error { return writeUniform(tx, n, int(n)*400) })
		}
		done.Store(true)
		wg.Wait()
		if n, err := readOnce(tree, 30); n != 30 || err != nil {
			t.Errorf("at the end: %d, %v", n, err)
		}
		if st, err := tree.Stats(); err != nil || e.name == EngineLMDB && st.MapBytes <= 1<<20 {
			t.Errorf("stats: %+v, %v", st, err)
		}
	})
}

// TestCloseDuringUse closes trees under everything that can be done with them.
// In C a mistake here ends the process.
func TestCloseDuringUse(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		for round := range 15 {
			e := newEngine(t, e.name)
			e.o.MapSize = 1 << 16
			tree := e.open(t)
			update(t, tree, func(tx Tx) error { return writeUniform(tx, 0, 0) })
			var wg sync.WaitGroup
			var calls atomic.Int64
			started := make(chan struct{})
			use := func(name string, fn func() error) {
				wg.Go(func() {
					for {
						err := fn()
						if errors.Is(err, ErrClosed) {
							return
						}
						if err != nil {
							t.Errorf("%s: %v", name, err)
							return
						}
						if calls.Add(1) == 20 {
							close(started)
						}
					}
				})
			}
			for range 4 {
				use("read", func() error {
					_, err := readOnce(tree, 0)
					return err
				})
			}
			for range 2 {
				use("update", func() error {
					return tree.Update(func(tx Tx) error { return writeUniform(tx, 1+uint64(calls.Load()), rand.IntN(4000)) })
				})
			}
			use("stats", func() error {
				_, err := tree.Stats()
				return err
			})
			use("backup", func() error {
				_, err := tree.Backup(io.Discard)
				return err
			})
			<-started
			if err := tree.Close(); err != nil {
				t.Fatalf("round %d: close: %v", round, err)
			}
			wg.Wait()
		}
	})
}

// TestCloseWaitsForSnapshots keeps reading while Close waits.
func TestCloseWaitsForSnapshots(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		update(t, tree, func(tx Tx) error { return writeUniform(tx, 7, 100) })
		s := snapshot(t, tree)
		closed := make(chan error)
		go func() { closed <- tree.Close() }()
		for {
			late, err := tree.Snapshot()
			if errors.Is(err, ErrClosed) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			late.Release()
		}
		for range 100 {
			if n, err := readUniform(s); n != 7 || err != nil {
				t.Fatalf("while Close waits: %d, %v", n, err)
			}
		}
		select {
		case err := <-closed:
			t.Fatalf("Close didn't wait: %v", err)
		default:
		}
		s.Release()
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	})
}

// TestManySnapshots asks for more snapshots at a time than there may be.
func TestManySnapshots(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		update(t, tree, func(tx Tx) error { return writeUniform(tx, 1, 0) })
		const many = 2000
		limit := map[string]int{EngineLMDB: 240, EngineBolt: boltSnapshots, EngineMemory: memSnapshots}[e.name]
		got := make(chan Snapshot, many)
		var wg sync.WaitGroup
		for range many {
			wg.Go(func() {
				s, err := tree.Snapshot()
				if err != nil {
					t.Error(err)
					return
				}
				if _, found, err := s.Get([]byte("key-007")); !found || err != nil {
					t.Errorf("get: %t, %v", found, err)
				}
				got <- s
			})
		}
		held := make([]Snapshot, 0, limit)
		for range limit {
			held = append(held, <-got)
		}
		if st, err := tree.Stats(); err != nil || st.Snapshots != limit {
			t.Errorf("stats: %+v, %v; expected %d snapshots", st, err, limit)
		}
		for _, s := range held {
			s.Release()
		}
		for range many - limit {
			(<-got).Release()
		}
		wg.Wait()
	})
}

// TestSnapshotsAreShared reads one snapshot from many goroutines while updates
// run, and releases it under them.
func TestSnapshotsAreShared(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		update(t, tree, func(tx Tx) error { return writeUniform(tx, 1, 0) })
		s := snapshot(t, tree)
		var wg sync.WaitGroup
		var reads atomic.Int64
		enough := make(chan struct{})
		for range 6 {
			wg.Go(func() {
				for {
					v, found, err := s.Get([]byte("key-033"))
					if errors.Is(err, ErrEnded) {
						return
					}
					if err != nil || !found || !bytes.Equal(v, []byte{0, 0, 0, 0, 0, 0, 0, 1}) {
						t.Errorf("get: %x, %t, %v", v, found, err)
						return
					}
					if reads.Add(1) == 5000 {
						close(enough)
					}
				}
			})
		}
		for n := uint64(2); n < 20; n++ {
			update(t, tree, func(tx Tx) error { return writeUniform(tx, n, 0) })
		}
		<-enough
		s.Release()
		wg.Wait()
	})
}

// TestConcurrentUpdatesAreSerial counts in a key.
func TestConcurrentUpdatesAreSerial(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		tree := e.open(t)
		const workers, each = 8, 10
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					err := tree.Update(func(tx Tx) error {
						v, _, err := tx.Get([]byte("counter"))
						if err != nil {
							return err
						}
						n := uint64(0)
						if len(v) == 8 {
							n = binary.BigEndian.Uint64(v)
						}
						return tx.Put([]byte("counter"), binary.BigEndian.AppendUint64(nil, n+1))
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		s := snapshot(t, tree)
		defer s.Release()
		if v, _, err := s.Get([]byte("counter")); err != nil || binary.BigEndian.Uint64(v) != workers*each {
			t.Errorf("counter %x, %v", v, err)
		}
	})
}
