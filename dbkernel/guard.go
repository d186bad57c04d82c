package dbkernel

import (
	"bytes"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/memtable"
)

// guard is what a transaction relies on: that since LSN asOf nobody wrote these
// cells, nor any cell of these ranges.
type guard struct {
	asOf   uint64
	keys   [][]byte
	ranges []keyRange
}

// keyRange is the cells from low on and below high; a nil high has no bound.
type keyRange struct{ low, high []byte }

func (r keyRange) holds(key []byte) bool {
	return bytes.Compare(key, r.low) >= 0 && (r.high == nil || bytes.Compare(key, r.high) < 0)
}

// changedSince returns the LSN of a record that makes the guard stale, 0 if
// there is none. It asks the memtables and the group so far, never the B+tree:
// a guard from before the checkpoint is stale, because the memtables no longer
// hold all that came after it.
func (n *Namespace) changedSince(g *guard, p *pending) uint64 {
	list := n.mems.Load()
	if g.asOf < list.base {
		return list.base
	}
	for _, key := range g.keys {
		for _, m := range list.tables {
			if at := newestCover(m, key); at > g.asOf {
				return at
			}
		}
	}
	for _, r := range g.ranges {
		for _, m := range list.tables {
			if at := newestInRange(m, r, g.asOf); at != 0 {
				return at
			}
		}
	}
	if len(p.records) > 0 && p.writes(g) {
		return p.next - 1
	}
	return 0
}

// newestCover is the LSN of the newest write to a cell, by name or by a drop
// of what it belongs to.
func newestCover(m *mem, key []byte) uint64 {
	var at uint64
	if v := m.Newest(key); v != nil {
		at = v.LSN
	}
	if prefix := dropPrefix(m, key); prefix != nil {
		if v := m.Newest(prefix); v != nil {
			at = max(at, v.LSN)
		}
	}
	return at
}

// dropPrefix is the key of a drop that would cover the cell, nil if the table
// has no drops or the cell can't be covered by one.
func dropPrefix(m *mem, key []byte) []byte {
	if !m.HasRanges() {
		return nil
	}
	switch key[0] {
	case codec.TypeRow:
		if prefix, err := codec.RowPrefixOf(key); err == nil {
			return prefix
		}
	case codec.TypeChunk:
		if id, _, err := codec.SplitChunkKey(key); err == nil {
			return codec.ChunkPrefix(id)
		}
	}
	return nil
}

func newestInRange(m *mem, r keyRange, asOf uint64) uint64 {
	it := m.Iterate(^uint64(0))
	for ok := it.Seek(r.low); ok && r.holds(it.Key()); ok = it.Next() {
		if v := it.Version(); v.LSN > asOf && v.Kind != memtable.IndexEntry {
			return v.LSN
		}
	}
	return 0
}

// writtenKeys is the set of cells that the group's records write, collected as
// far as upTo when a guard first asks.
type writtenKeys struct {
	upTo int // records looked at
	keys map[string]struct{}
	rows [][]byte // prefixes of rows that are deleted
}

func (p *pending) writes(g *guard) bool {
	if p.written == nil {
		p.written = &writtenKeys{keys: map[string]struct{}{}}
	}
	w := p.written
	for ; w.upTo < len(p.records); w.upTo++ {
		// The record was sealed a moment ago, so its operations can be read.
		_ = p.records[w.upTo].Ops(func(op codec.Op) error {
			if op.Kind == codec.OpDeleteRow {
				w.rows = append(w.rows, op.Key)
			}
			if op.Key != nil {
				w.keys[string(op.Key)] = struct{}{}
			}
			return nil
		})
	}
	for _, key := range g.keys {
		if w.wrote(key) {
			return true
		}
	}
	for _, r := range g.ranges {
		for key := range w.keys {
			if r.holds([]byte(key)) {
				return true
			}
		}
	}
	return false
}

func (w *writtenKeys) wrote(key []byte) bool {
	if _, ok := w.keys[string(key)]; ok {
		return true
	}
	for _, row := range w.rows {
		if bytes.HasPrefix(key, row) {
			return true
		}
	}
	return false
}
