package dbkernel

import (
	"maps"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/memtable"
)

// mem is a memtable with what its flush will say about the log up to its last
// record. The committer alone changes it, and only while it is the active one.
type mem struct {
	*memtable.Table
	last    uint64                   // LSN of the last record; one below the first while empty
	epoch   uint64                   // of the last record
	time    int64                    // of the last record
	records uint64                   // batch records
	marked  bool                     // the last record is a mark
	uploads map[codec.ObjectID]int64 // open uploads after the last record; set at rotation
	counted int64                    // bytes that the node's memory count has for this table
}

func newMem(after uint64, epoch uint64, at int64) *mem {
	return &mem{Table: memtable.New(), last: after, epoch: epoch, time: at}
}

// memList is the state that a reader loads at once: memtables from new to old,
// the first one active, and the LSN that the B+tree contained when the list was
// made. What lies behind base is in the tables. Immutable.
type memList struct {
	tables []*mem
	base   uint64
}

func (l *memList) active() *mem { return l.tables[0] }

// withActive puts a new active table in front.
func (l *memList) withActive(m *mem) *memList {
	return &memList{tables: append([]*mem{m}, l.tables...), base: l.base}
}

// withoutOldest drops the oldest table, which the tree now contains.
func (l *memList) withoutOldest() *memList {
	i := len(l.tables) - 1
	return &memList{tables: l.tables[:i:i], base: l.tables[i].last}
}

// rotate makes the active memtable immutable and starts a new one. Only the
// committer may call it.
func (n *Namespace) rotate() {
	n.memsMu.Lock()
	list := n.mems.Load()
	if list == nil || list.active().last == n.activeFrom {
		n.memsMu.Unlock()
		return // idle, or nothing in it
	}
	m := list.active()
	m.uploads = maps.Clone(n.uploads)
	n.activeFrom = m.last
	n.mems.Store(list.withActive(newMem(m.last, m.epoch, m.time)))
	n.memsMu.Unlock()
	n.scheduleFlush()
}

// full reports whether the active memtable is to be rotated.
func (n *Namespace) full(m *mem) bool {
	return m.Bytes() >= n.opts.Load().Storage.MemtableSize || m.Keys() >= maxMemtableKeys
}

// overfull reports whether the active memtable is to be rotated without a mark.
func (n *Namespace) overfull(m *mem) bool {
	return m.Bytes() >= 2*n.opts.Load().Storage.MemtableSize || m.Keys() >= maxMemtableKeys*5/4
}

// maxMemtableKeys keeps a flush below the number of dirty pages at which LMDB
// begins to spill.
const maxMemtableKeys = 64 << 10
