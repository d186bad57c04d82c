// Package memtable holds a namespace's newest records in memory, ordered by
// key, with every version of a key, until they are flushed into the B+tree.
//
// A table has one writer, the committer, and any number of readers. Readers
// take no lock: nodes and versions are only ever added, and each becomes
// visible by one atomic store. A reader at LSN s sees the newest version with
// LSN at most s, whatever is added meanwhile.
package memtable

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Kind says what a version does to its key.
type Kind uint8

// The kinds of versions.
const (
	Put        Kind = iota + 1 // the key has a value
	Delete                     // the key is gone
	Expire                     // the key is gone if it has the version Target underneath
	RangeDrop                  // everything below this key's prefix that is older is gone
	IndexEntry                 // an expiry falls due: a hint, true only if the cell still says so
)

// Version is one write to a key. It is immutable once added; its slices point
// into the record that carried it.
type Version struct {
	codec.Version
	Kind   Kind
	Expiry int64         // of a Put; nanoseconds since 1970, 0 for none
	Target codec.Version // of an Expire
	Value  []byte        // of a Put

	older *Version // set before the version becomes visible
}

// Older is the version before this one in the same table, or nil.
func (v *Version) Older() *Version { return v.older }

const (
	maxHeight = 12 // enough for 4^12 keys
	// overhead is what a key with one version costs beyond its bytes, roughly.
	overhead = 160
)

// node is a key in the skip list. One in four has a level above the first.
type node struct {
	head   head // most comparisons end here, without following key
	key    []byte
	newest atomic.Pointer[Version]
	next   atomic.Pointer[node]
	upper  []atomic.Pointer[node] // levels 1 and up
}

func (n *node) at(level int) *atomic.Pointer[node] {
	if level == 0 {
		return &n.next
	}
	return &n.upper[level-1]
}

// Table is one memtable.
type Table struct {
	root   node
	height int // levels in use; the writer's alone
	rng    *rand.Rand
	seed   maphash.Seed
	index  atomic.Pointer[index]

	keys   atomic.Int64
	bytes  atomic.Int64
	live   atomic.Int64
	ranges atomic.Int64 // RangeDrop versions; readers skip the look-up where there are none
}

// New makes an empty table.
func New() *Table {
	t := &Table{height: 1, seed: maphash.MakeSeed(), rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	t.root.upper = make([]atomic.Pointer[node], maxHeight-1)
	t.index.Store(newIndex(64))
	return t
}

// Keys is the number of keys.
func (t *Table) Keys() int { return int(t.keys.Load()) }

// Bytes is roughly the memory that the table holds.
func (t *Table) Bytes() int64 { return t.bytes.Load() }

// Live is the number of bytes of keys and values that the table's newest puts
// hold: an upper bound of what flushing it adds to the tree.
func (t *Table) Live() int64 { return t.live.Load() }

// HasRanges reports whether the table has a RangeDrop anywhere.
func (t *Table) HasRanges() bool { return t.ranges.Load() > 0 }

// Add makes v the newest version of key. The table keeps key and v. Only the
// one writer may call it, with LSNs that don't fall.
func (t *Table) Add(key []byte, v *Version) {
	h := maphash.Bytes(t.seed, key)
	n := t.index.Load().find(h, key)
	if n == nil {
		n = t.insert(key, v)
		t.addToIndex(h, n)
		t.keys.Add(1)
		t.bytes.Add(int64(len(key)+len(v.Value)) + overhead)
	} else {
		v.older = n.newest.Load()
		n.newest.Store(v)
		t.bytes.Add(int64(len(v.Value)) + overhead/2)
	}
	t.live.Add(liveBytes(key, v) - liveBytes(key, v.older))
	if v.Kind == RangeDrop {
		t.ranges.Add(1)
	}
}

func liveBytes(key []byte, v *Version) int64 {
	if v == nil || v.Kind != Put {
		return 0
	}
	return int64(len(key) + len(v.Value))
}

// insert links a new node. Its version and its own links are in place before
// any other node leads to it, and it is linked from the bottom up, so that a
// reader who meets it on an upper level can go on from there on every lower one.
func (t *Table) insert(key []byte, v *Version) *node {
	n := &node{head: headOf(key), key: key}
	n.newest.Store(v)
	height := t.randomHeight()
	if height > 1 {
		n.upper = make([]atomic.Pointer[node], height-1)
	}
	t.height = max(t.height, height)
	var prevs [maxHeight]*node
	prev := &t.root
	for level := t.height - 1; level >= 0; level-- {
		next := prev.at(level).Load()
		for next != nil && next.before(n.head, key) {
			prev, next = next, next.at(level).Load()
		}
		prevs[level] = prev
		if level < height {
			n.at(level).Store(next)
		}
	}
	for level := range height {
		prevs[level].at(level).Store(n)
	}
	return n
}

func (t *Table) randomHeight() int {
	h := 1
	for bits := t.rng.Uint64(); h < maxHeight && bits&3 == 0; bits >>= 2 {
		h++
	}
	return h
}

// head is a key's first 16 bytes, packed so that comparing numbers compares bytes.
// Fewer would often be what all keys of an application begin with.
type head [2]uint64

func headOf(key []byte) head {
	if len(key) < 16 {
		var b [16]byte
		copy(b[:], key)
		key = b[:]
	}
	return head{binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])}
}

// before reports whether n's key is below key, whose head is given.
func (n *node) before(h head, key []byte) bool {
	if n.head[0] != h[0] {
		return n.head[0] < h[0]
	}
	if n.head[1] != h[1] {
		return n.head[1] < h[1]
	}
	return bytes.Compare(n.key, key) < 0
}

// Newest is the newest version of key, or nil.
func (t *Table) Newest(key []byte) *Version {
	if n := t.index.Load().find(maphash.Bytes(t.seed, key), key); n != nil {
		return n.newest.Load()
	}
	return nil
}

// Get is the newest version of key with an LSN of at most lsn, or nil.
func (t *Table) Get(key []byte, lsn uint64) *Version {
	return at(t.Newest(key), lsn)
}

func at(v *Version, lsn uint64) *Version {
	for v != nil && v.LSN > lsn {
		v = v.older
	}
	return v
}

// seek finds the first node that is not below key.
func (t *Table) seek(key []byte) *node {
	_, n := t.search(key)
	return n
}

// search finds the neighbours of the gap in front of key: the last node below
// it (nil: none) and the first that isn't (nil: none).
func (t *Table) search(key []byte) (before, from *node) {
	h := headOf(key)
	prev := &t.root
	var next *node
	for level := maxHeight - 1; level >= 0; level-- {
		next = prev.at(level).Load()
		for next != nil && next.before(h, key) {
			prev, next = next, next.at(level).Load()
		}
	}
	if prev == &t.root {
		prev = nil
	}
	return prev, next
}

// lastNode is the node with the highest key, or nil.
func (t *Table) lastNode() *node {
	prev := &t.root
	for level := maxHeight - 1; level >= 0; level-- {
		for next := prev.at(level).Load(); next != nil; next = prev.at(level).Load() {
			prev = next
		}
	}
	if prev == &t.root {
		return nil
	}
	return prev
}

// Iterator walks the keys that have a version with an LSN of at most a given
// one. Not for concurrent use; the table may be written meanwhile.
type Iterator struct {
	t   *Table
	lsn uint64
	n   *node
	v   *Version
}

// Iterate makes an iterator that sees the table as of lsn. It starts invalid.
func (t *Table) Iterate(lsn uint64) *Iterator { return &Iterator{t: t, lsn: lsn} }

// Seek moves to the first key that is not below key.
func (i *Iterator) Seek(key []byte) bool {
	i.n = i.t.seek(key)
	return i.skip((*Iterator).step)
}

// SeekBefore moves to the last key below key; nil means the last of all.
func (i *Iterator) SeekBefore(key []byte) bool {
	if key == nil {
		i.n = i.t.lastNode()
	} else {
		i.n, _ = i.t.search(key)
	}
	return i.skip((*Iterator).stepBack)
}

// Next moves to the next key.
func (i *Iterator) Next() bool {
	i.step()
	return i.skip((*Iterator).step)
}

// Prev moves to the key before.
func (i *Iterator) Prev() bool {
	i.stepBack()
	return i.skip((*Iterator).stepBack)
}

func (i *Iterator) step()     { i.n = i.n.next.Load() }
func (i *Iterator) stepBack() { i.n, _ = i.t.search(i.n.key) }

// skip goes on from a node whose versions are all too new.
func (i *Iterator) skip(step func(*Iterator)) bool {
	for i.n != nil {
		if i.v = at(i.n.newest.Load(), i.lsn); i.v != nil {
			return true
		}
		step(i)
	}
	i.v = nil
	return false
}

// Valid reports whether the iterator stands on a key.
func (i *Iterator) Valid() bool { return i.n != nil }

// Key is the key under the iterator; it must not be changed.
func (i *Iterator) Key() []byte { return i.n.key }

// Version is the key's newest version as of the iterator's LSN.
func (i *Iterator) Version() *Version { return i.v }
