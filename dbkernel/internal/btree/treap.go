package btree

import (
	"bytes"
	"hash/maphash"
)

// treap is an immutable ordered map: a search tree by key that is a heap by a
// hash of the key. A change copies the nodes on its path and shares the rest, so
// that a snapshot is a root and costs nothing. nil is the empty one.
type treap struct {
	key, val    []byte
	prio        uint64
	left, right *treap
	n           int // keys in it
	bytes       int // of keys and values in it
}

// treapSeed is one for the process: where a key comes to lie in the tree never
// shows.
var treapSeed = maphash.MakeSeed()

func (t *treap) count() int {
	if t == nil {
		return 0
	}
	return t.n
}

func (t *treap) size() int {
	if t == nil {
		return 0
	}
	return t.bytes
}

// with returns a copy of the node t with other subtrees.
func (t *treap) with(left, right *treap) *treap {
	return &treap{
		key: t.key, val: t.val, prio: t.prio, left: left, right: right,
		n: 1 + left.count() + right.count(), bytes: len(t.key) + len(t.val) + left.size() + right.size(),
	}
}

// put returns the map with val under key. It keeps both slices.
func (t *treap) put(key, val []byte) *treap {
	prio := maphash.Bytes(treapSeed, key)
	left, right := t.split(key)
	right = right.trimFirst(key)
	node := &treap{key: key, val: val, prio: prio}
	return join(join(left, node.with(nil, nil)), right)
}

// remove returns the map without key.
func (t *treap) remove(key []byte) *treap {
	left, right := t.split(key)
	return join(left, right.trimFirst(key))
}

// split returns the keys below key, and the others.
func (t *treap) split(key []byte) (below, rest *treap) {
	if t == nil {
		return nil, nil
	}
	if bytes.Compare(t.key, key) < 0 {
		below, rest = t.right.split(key)
		return t.with(t.left, below), rest
	}
	below, rest = t.left.split(key)
	return below, t.with(rest, t.right)
}

// trimFirst returns the map without key, which can only be its first one.
func (t *treap) trimFirst(key []byte) *treap {
	switch {
	case t == nil:
		return nil
	case t.left != nil:
		return t.with(t.left.trimFirst(key), t.right)
	case bytes.Equal(t.key, key):
		return t.right
	default:
		return t
	}
}

// join makes one map of two; all keys of a are below those of b.
func join(a, b *treap) *treap {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.prio > b.prio:
		return a.with(a.left, join(a.right, b))
	default:
		return b.with(join(a, b.left), b.right)
	}
}

// get returns the node of key, or nil.
func (t *treap) get(key []byte) *treap {
	for t != nil {
		c := bytes.Compare(key, t.key)
		if c == 0 {
			return t
		}
		if c < 0 {
			t = t.left
		} else {
			t = t.right
		}
	}
	return nil
}

// from returns the first node that is not below key, or with above, that is
// above it.
func (t *treap) from(key []byte, above bool) *treap {
	var best *treap
	for t != nil {
		c := bytes.Compare(t.key, key)
		if c > 0 || c == 0 && !above {
			best, t = t, t.left
		} else {
			t = t.right
		}
	}
	return best
}

// before returns the last node below key; of all, if key is nil.
func (t *treap) before(key []byte) *treap {
	var best *treap
	for t != nil {
		if key == nil || bytes.Compare(t.key, key) < 0 {
			best, t = t, t.right
		} else {
			t = t.left
		}
	}
	return best
}

// each calls fn for every node in order.
func (t *treap) each(fn func(*treap)) {
	if t == nil {
		return
	}
	t.left.each(fn)
	fn(t)
	t.right.each(fn)
}
