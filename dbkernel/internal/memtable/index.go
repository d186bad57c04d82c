package memtable

import (
	"bytes"
	"sync/atomic"
)

// index finds a key's node without walking the list: a hash table with open
// addressing that only ever gains entries. The writer replaces it by a larger
// one before it is half full; a reader with the old one misses only keys that
// were added after it looked.
type index struct {
	mask  uint64
	used  int // the writer's alone
	slots []slot
}

// slot is a node and the hash that led to it. The hash is stored first, so a
// reader who sees the node sees it, too.
type slot struct {
	hash atomic.Uint64
	node atomic.Pointer[node]
}

func newIndex(size int) *index {
	return &index{mask: uint64(size - 1), slots: make([]slot, size)}
}

func (x *index) find(hash uint64, key []byte) *node {
	for i := hash & x.mask; ; i = (i + 1) & x.mask {
		n := x.slots[i].node.Load()
		if n == nil {
			return nil
		}
		if x.slots[i].hash.Load() == hash && bytes.Equal(n.key, key) {
			return n
		}
	}
}

func (x *index) add(hash uint64, n *node) {
	i := hash & x.mask
	for x.slots[i].node.Load() != nil {
		i = (i + 1) & x.mask
	}
	x.slots[i].hash.Store(hash)
	x.slots[i].node.Store(n)
	x.used++
}

// addToIndex makes a linked node findable by its key.
func (t *Table) addToIndex(hash uint64, n *node) {
	x := t.index.Load()
	if 2*(x.used+1) > len(x.slots) {
		larger := newIndex(2 * len(x.slots))
		for i := range x.slots {
			if old := x.slots[i].node.Load(); old != nil {
				larger.add(x.slots[i].hash.Load(), old)
			}
		}
		t.index.Store(larger)
		x = larger
	}
	x.add(hash, n)
}
