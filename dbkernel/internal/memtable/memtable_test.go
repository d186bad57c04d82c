package memtable

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

func put(lsn uint64, value string) *Version {
	return &Version{Version: codec.Version{Epoch: 1, LSN: lsn}, Kind: Put, Value: []byte(value)}
}

// TestAgainstModel compares every read with a plain map of versions.
func TestAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := New()
	model := map[string][]*Version{}
	const last = 5000
	for lsn := uint64(1); lsn <= last; lsn++ {
		key := fmt.Sprintf("key-%d", rng.IntN(700))
		v := put(lsn, fmt.Sprint(lsn))
		table.Add([]byte(key), v)
		model[key] = append(model[key], v)
	}
	if table.Keys() != len(model) {
		t.Fatalf("%d keys, expected %d", table.Keys(), len(model))
	}
	for _, at := range []uint64{0, 1, 17, 2500, last, last + 1} {
		var keys []string
		newest := map[string]*Version{}
		for k, vs := range model {
			for _, v := range vs {
				if v.LSN <= at {
					newest[k] = v
				}
			}
			if newest[k] != nil {
				keys = append(keys, k)
			}
			if got := table.Get([]byte(k), at); got != newest[k] {
				t.Fatalf("Get(%s, %d) = %v, expected %v", k, at, got, newest[k])
			}
		}
		slices.Sort(keys)
		checkWalk(t, table, at, keys)
		for range 200 {
			checkSeek(t, table, at, keys, fmt.Sprintf("key-%d", rng.IntN(900)))
		}
	}
}

func checkWalk(t *testing.T, table *Table, at uint64, keys []string) {
	t.Helper()
	var up, down []string
	it := table.Iterate(at)
	for ok := it.Seek(nil); ok; ok = it.Next() {
		up = append(up, string(it.Key()))
	}
	for ok := it.SeekBefore(nil); ok; ok = it.Prev() {
		down = append(down, string(it.Key()))
	}
	slices.Reverse(down)
	if !slices.Equal(up, keys) || !slices.Equal(down, keys) {
		t.Fatalf("walk at %d: %d up, %d down, expected %d keys", at, len(up), len(down), len(keys))
	}
}

func checkSeek(t *testing.T, table *Table, at uint64, keys []string, target string) {
	t.Helper()
	i, _ := slices.BinarySearch(keys, target)
	it := table.Iterate(at)
	if ok := it.Seek([]byte(target)); ok != (i < len(keys)) || ok && string(it.Key()) != keys[i] {
		t.Fatalf("Seek(%s) at %d: %v", target, at, ok)
	}
	if ok := it.SeekBefore([]byte(target)); ok != (i > 0) || ok && string(it.Key()) != keys[i-1] {
		t.Fatalf("SeekBefore(%s) at %d: %v", target, at, ok)
	}
}

// TestReadersDuringWrites lets readers check that each key they were promised
// is there, in order, while the writer goes on.
func TestReadersDuringWrites(t *testing.T) {
	table := New()
	const keys = 20000
	perm := rand.New(rand.NewPCG(3, 4)).Perm(keys)
	written := make(chan uint64, keys)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for lsn := range written {
				key := fmt.Appendf(nil, "%08d", perm[lsn-1])
				if v := table.Get(key, lsn); v == nil || v.LSN != lsn {
					t.Errorf("key %s of LSN %d is %v", key, lsn, v)
					return
				}
				it, n := table.Iterate(lsn), 0
				var prev []byte
				for ok := it.Seek(key); ok && n < 20; ok, n = it.Next(), n+1 {
					if prev != nil && bytes.Compare(prev, it.Key()) >= 0 || it.Version().LSN > lsn {
						t.Errorf("at LSN %d: %s (LSN %d) behind %s", lsn, it.Key(), it.Version().LSN, prev)
						return
					}
					prev = it.Key()
				}
			}
		})
	}
	for i, p := range perm {
		table.Add(fmt.Appendf(nil, "%08d", p), put(uint64(i+1), "v"))
		written <- uint64(i + 1)
	}
	close(written)
	wg.Wait()
}

func TestLiveCountsNewestPuts(t *testing.T) {
	table := New()
	table.Add([]byte("k"), put(1, "12345"))
	table.Add([]byte("k"), put(2, "1"))
	if got := table.Live(); got != 2 {
		t.Fatalf("live after an overwrite: %d", got)
	}
	table.Add([]byte("k"), &Version{Version: codec.Version{LSN: 3}, Kind: Delete})
	if got := table.Live(); got != 0 {
		t.Fatalf("live after a delete: %d", got)
	}
}

func benchTable(n int) (*Table, [][]byte) {
	table, keys := New(), make([][]byte, n)
	for i, p := range rand.New(rand.NewPCG(5, 6)).Perm(n) {
		keys[i] = fmt.Appendf(nil, "\x10user:%012d", p)
		table.Add(keys[i], put(uint64(i+1), "value"))
	}
	return table, keys
}

func BenchmarkGet(b *testing.B) {
	table, keys := benchTable(1 << 16)
	for i := 0; b.Loop(); i++ {
		if table.Get(keys[(i*7919)&(1<<16-1)], 1<<40) == nil {
			b.Fatal("missing")
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	_, keys := benchTable(1 << 16)
	table := New()
	for i := 0; b.Loop(); i++ {
		if i&(1<<16-1) == 0 {
			table = New()
		}
		table.Add(keys[i&(1<<16-1)], put(uint64(i+1), "value"))
	}
}
