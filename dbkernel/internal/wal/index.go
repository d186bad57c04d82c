package wal

import (
	"cmp"
	"slices"
	"sort"
	"sync"
)

// indexStride is how far apart in the file the entries of an index are, at least.
const indexStride = 64 << 10

// indexEntry says where a frame is.
type indexEntry struct {
	lsn  uint64 // of its first record
	off  int64
	time int64 // of its first record
}

// index is the sparse index of one segment. It is only ever a help: what it
// lacks is found by hopping from frame to frame, so it may be dropped at any
// time. Its lock is never held during I/O.
type index struct {
	mu      sync.Mutex
	entries []indexEntry // ascending
}

// note remembers a frame if none near it is known.
func (x *index) note(e indexEntry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, _ := slices.BinarySearchFunc(x.entries, e, func(a, b indexEntry) int { return cmp.Compare(a.off, b.off) })
	if i > 0 && e.off-x.entries[i-1].off < indexStride {
		return
	}
	if i < len(x.entries) && x.entries[i].off-e.off < indexStride {
		return
	}
	x.entries = slices.Insert(x.entries, i, e)
}

// floor is the last known frame for which less holds, where less is true for a
// beginning of the segment; base if there is none.
func (x *index) floor(base indexEntry, less func(indexEntry) bool) indexEntry {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := sort.Search(len(x.entries), func(i int) bool { return !less(x.entries[i]) })
	if i == 0 {
		return base
	}
	return x.entries[i-1]
}

func (x *index) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries = nil
}
