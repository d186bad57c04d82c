//go:build cgo

package btree

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/lmdb"
)

// The benchmarks compare an engine with bare LMDB, measured in the same run on
// the same data, and report the ratio of the times: below 1 is faster than bare.

// bareEnv opens LMDB with nothing of ours around it.
func bareEnv(b *testing.B, dir string) (*lmdb.Env, lmdb.DBI) {
	b.Helper()
	env, err := lmdb.NewEnv()
	if err != nil {
		b.Fatal(err)
	}
	must(env.SetMapSize(8 << 30))
	must(env.Open(dir, lmdb.NoTLS, 0o600))
	b.Cleanup(func() { must(env.Close()) })
	var dbi lmdb.DBI
	must(env.View(func(txn *lmdb.Txn) (err error) {
		dbi, err = txn.OpenRoot(0)
		return err
	}))
	return env, dbi
}

func benchTree(b *testing.B) *lmdbTree {
	b.Helper()
	tree, err := openLMDB(Options{Dir: b.TempDir(), MapSize: DefaultMapSize, Logger: hclog.NewNullLogger()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { must(tree.Close()) })
	t, ok := tree.(*lmdbTree)
	if !ok {
		b.Fatalf("opened a %T", tree)
	}
	return t
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "key-%012d", i) }

// fillEdits are n pairs in order.
func fillEdits(n, size int) []Edit {
	edits := make([]Edit, n)
	for i := range edits {
		edits[i] = Edit{Key: benchKey(i), Value: bytes.Repeat([]byte{byte(i)}, size)}
	}
	return edits
}

// bestOf interleaves rounds of a and b, so that both meet the same disturbances,
// and returns the shortest of each.
func bestOf(rounds int, a, b func() time.Duration) (bestA, bestB time.Duration) {
	for i := range rounds {
		da, db := a(), b()
		if i == 0 || da < bestA {
			bestA = da
		}
		if i == 0 || db < bestB {
			bestB = db
		}
	}
	return bestA, bestB
}

// BenchmarkGet reads random keys of a million (200 MB): a Get of a snapshot, and
// a snapshot for each Get, against a bare Get that copies nothing, in one
// transaction. Design: under 1.3.
func BenchmarkGet(b *testing.B) {
	const n, size, gets = 1_000_000, 128, 200_000
	tree := benchTree(b)
	must(tree.Update(func(tx Tx) error { return tx.Apply(fillEdits(n, size), nil) }))
	env := tree.env
	// One buffer for all keys: a collector that has to look at each of them would
	// be what is measured.
	var keys []byte
	rng := rand.New(rand.NewPCG(1, 1))
	keyLen := len(benchKey(0))
	for range gets {
		keys = append(keys, benchKey(rng.IntN(n))...)
	}
	each := func(fn func(k []byte)) time.Duration {
		start := time.Now()
		for at := 0; at < len(keys); at += keyLen {
			fn(keys[at : at+keyLen])
		}
		return time.Since(start)
	}
	bare := func() time.Duration {
		txn, err := env.BeginTxn(nil, lmdb.Readonly)
		must(err)
		defer txn.Abort()
		txn.RawRead = true
		return each(func(k []byte) {
			if v, err := txn.Get(tree.dbi, k); err != nil || len(v) != size {
				b.Fatal(err)
			}
		})
	}
	get := func(s Snapshot, k []byte) {
		if v, found, err := s.Get(k); err != nil || !found || len(v) != size {
			b.Fatal(err)
		}
	}
	one := func() time.Duration {
		s := snapshot(b, tree)
		defer s.Release()
		return each(func(k []byte) { get(s, k) })
	}
	many := func() time.Duration {
		return each(func(k []byte) {
			s, err := tree.Snapshot()
			must(err)
			get(s, k)
			s.Release()
		})
	}
	for name, ours := range map[string]func() time.Duration{"one-snapshot": one, "snapshot-each": many} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				o, p := bestOf(5, ours, bare)
				b.ReportMetric(float64(o)/float64(p), "ratio")
				b.ReportMetric(float64(o.Nanoseconds())/gets, "ns/get")
				b.ReportMetric(float64(p.Nanoseconds())/gets, "bare-ns/get")
			}
		})
	}
}

// BenchmarkFlush commits sorted transactions of 64 MiB (1 KiB values, random
// keys of two million) into a tree that has grown by the ones before: Apply, which also
// reports the old values, against bare Puts.
func BenchmarkFlush(b *testing.B) {
	const size, n, space, flushes = 1 << 10, 64 << 10, 2_000_000, 4
	tree := benchTree(b)
	env, dbi := bareEnv(b, b.TempDir())
	rng := rand.New(rand.NewPCG(1, 1))
	value := bytes.Repeat([]byte("v"), size)
	for range b.N {
		var ours, bare time.Duration
		for range flushes {
			edits := make([]Edit, n)
			for i := range edits {
				edits[i] = Edit{Key: benchKey(rng.IntN(space)), Value: value}
			}
			slices.SortFunc(edits, func(a, b Edit) int { return bytes.Compare(a.Key, b.Key) })
			edits = slices.CompactFunc(edits, func(a, b Edit) bool { return bytes.Equal(a.Key, b.Key) })
			start := time.Now()
			must(tree.Update(func(tx Tx) error {
				return tx.Apply(edits, func(int, []byte, int) error { return nil })
			}))
			ours += time.Since(start)
			start = time.Now()
			must(env.Update(func(txn *lmdb.Txn) error {
				for i := range edits {
					if err := txn.Put(dbi, edits[i].Key, edits[i].Value, 0); err != nil {
						return err
					}
				}
				return nil
			}))
			bare += time.Since(start)
		}
		b.ReportMetric(float64(ours)/float64(bare), "ratio")
		b.ReportMetric(flushes*n/ours.Seconds(), "puts/s")
		b.ReportMetric(flushes*n/bare.Seconds(), "bare-puts/s")
	}
}

// BenchmarkApply is BenchmarkFlush without the disk: the transaction is dropped
// before its commit.
func BenchmarkApply(b *testing.B) {
	const size, n, space = 1 << 10, 64 << 10, 500_000
	tree := benchTree(b)
	must(tree.Update(func(tx Tx) error { return tx.Apply(fillEdits(space, size), nil) }))
	env := tree.env
	rng := rand.New(rand.NewPCG(1, 1))
	picked := rng.Perm(2 * space)[:n]
	slices.Sort(picked)
	edits := make([]Edit, n)
	for i, k := range picked {
		edits[i] = Edit{Key: benchKey(k), Value: bytes.Repeat([]byte("v"), size)}
	}
	ours := func() time.Duration {
		start := time.Now()
		if err := tree.Update(func(tx Tx) error {
			must(tx.Apply(edits, func(int, []byte, int) error { return nil }))
			return errAborted
		}); !errors.Is(err, errAborted) {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	put := func(get bool) func() time.Duration {
		return func() time.Duration {
			start := time.Now()
			if err := env.Update(func(txn *lmdb.Txn) error {
				txn.RawRead = true
				for i := range edits {
					if get {
						if _, err := txn.Get(tree.dbi, edits[i].Key); err != nil && !lmdb.IsNotFound(err) {
							return err
						}
					}
					must(txn.Put(tree.dbi, edits[i].Key, edits[i].Value, 0))
				}
				return errAborted
			}); !errors.Is(err, errAborted) {
				b.Fatal(err)
			}
			return time.Since(start)
		}
	}
	for name, bare := range map[string]func() time.Duration{"put": put(false), "get-and-put": put(true)} {
		b.Run("against="+name, func(b *testing.B) {
			for range b.N {
				o, p := bestOf(3, ours, bare)
				b.ReportMetric(float64(o)/float64(p), "ratio")
				b.ReportMetric(float64(o.Nanoseconds())/n, "ns/edit")
			}
		})
	}
}

// BenchmarkScan walks all of a million pairs of 128 bytes against a bare cursor.
func BenchmarkScan(b *testing.B) {
	const n, size = 1_000_000, 128
	tree := benchTree(b)
	must(tree.Update(func(tx Tx) error { return tx.Apply(fillEdits(n, size), nil) }))
	env := tree.env
	ours := func() time.Duration {
		s := snapshot(b, tree)
		defer s.Release()
		c, err := s.Cursor()
		must(err)
		defer c.Close()
		start := time.Now()
		count := 0
		for ok := c.Seek(nil); ok; ok = c.Next() {
			count++
		}
		if count != n {
			b.Fatalf("%d pairs", count)
		}
		return time.Since(start)
	}
	bare := func() (d time.Duration) {
		must(env.View(func(txn *lmdb.Txn) error {
			txn.RawRead = true
			c, err := txn.OpenCursor(tree.dbi)
			must(err)
			defer c.Close()
			start := time.Now()
			count := 0
			for _, _, err = c.Get(nil, nil, lmdb.First); err == nil; _, _, err = c.Get(nil, nil, lmdb.Next) {
				count++
			}
			if count != n || !lmdb.IsNotFound(err) {
				b.Fatalf("%d pairs, %v", count, err)
			}
			d = time.Since(start)
			return nil
		}))
		return d
	}
	for range b.N {
		o, p := bestOf(3, ours, bare)
		b.ReportMetric(float64(o)/float64(p), "ratio")
		b.ReportMetric(float64(o.Nanoseconds())/n, "ns/pair")
	}
}
