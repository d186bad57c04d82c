//go:build cgo

package lmdb

/*
#include "wrap.h"

#cgo noescape udb_cursor_batch
#cgo nocallback udb_cursor_batch
*/
import "C"

import "math"

// Begin says where a batched read starts.
type Begin int

// Where a batched read starts. AtOrAfter, After, FromFirst and Onward read
// ascending, Before, FromLast and Backward descending.
const (
	AtOrAfter Begin = C.UDB_AT_OR_AFTER // the first key that is not below the one given
	After     Begin = C.UDB_AFTER       // the first key above the one given
	Before    Begin = C.UDB_BEFORE      // the last key below the one given
	FromFirst Begin = C.UDB_FIRST
	FromLast  Begin = C.UDB_LAST
	Onward    Begin = C.UDB_NEXT // behind where the batch before ended
	Backward  Begin = C.UDB_PREV // before where the batch before ended
)

// Pairs is a run of pairs copied out of the map by Cursor.Scan, in the order read.
// It can be used again; its memory grows to what is needed. (Not in lmdb-go.)
type Pairs struct {
	lens []C.udb_pair
	offs []uint32
	buf  []byte
	n    int
	end  bool
	full bool // the cursor is on a pair that had no room
}

// Len is the number of pairs.
func (p *Pairs) Len() int { return p.n }

// End reports whether no pair is left in the direction read.
func (p *Pairs) End() bool { return p.end }

// Reset forgets the pairs and keeps the memory, but for what large values took.
func (p *Pairs) Reset() {
	p.n, p.end, p.full = 0, false, false
	if cap(p.buf) > keepScanBytes {
		p.buf = nil
	}
}

// Pair returns pair i. The bytes are valid until the next Scan.
func (p *Pairs) Pair(i int) (key, val []byte) {
	l := p.lens[i]
	k := p.offs[i]
	v := k + uint32(l.klen)
	e := v + uint32(l.vlen)
	return p.buf[k:v:v], p.buf[v:e:e]
}

// A batched read takes at most maxScanPairs pairs and, where no single pair is
// longer, maxScanBytes. It starts small, since most scans end soon.
const (
	MaxScanPairs   = 256
	maxScanBytes   = 64 << 10
	keepScanBytes  = maxScanBytes
	firstScanBytes = 4 << 10
	pairBytes      = 256 // assumed at first
)

// Scan reads up to limit pairs in one call across cgo and leaves the cursor on
// the last one. key is for AtOrAfter, After and Before. Onward and Backward go
// on from the batch that p holds, which must have been read by this cursor in
// the same direction, with no change of the database since.
func (c *Cursor) Scan(p *Pairs, begin Begin, key []byte, limit int) error {
	p.n = 0
	p.end = false
	if err := c.usable("mdb_cursor_get"); err != nil {
		return err
	}
	limit = min(max(limit, 1), MaxScanPairs)
	p.room(limit)
	back := C.int(0)
	if begin == Before || begin == FromLast || begin == Backward {
		back = 1
	}
	from := C.int(begin)
	if p.full && (begin == Onward || begin == Backward) {
		from = C.UDB_CURRENT
	}
	for {
		var out C.udb_batch
		C.udb_cursor_batch(c.txn.env.note.counter, c.cur, from, back, cbytes(key), C.size_t(len(key)),
			cbytes(p.buf), C.size_t(len(p.buf)), C.size_t(c.txn.env.mapSize.Load()), &p.lens[0], C.uint32_t(limit), &out)
		if err := operrno("mdb_cursor_get", out.rc); err != nil {
			p.full = false
			return err
		}
		p.full = out.end == C.UDB_ROOM
		p.end = out.end == C.UDB_END
		if out.count == 0 && p.full {
			if out.need > math.MaxUint32/2 {
				return &OpError{Op: "mdb_cursor_get", Errno: Corrupted}
			}
			p.buf = make([]byte, max(int(out.need), min(int(out.need)*limit, maxScanBytes)))
			from = C.UDB_CURRENT
			continue
		}
		p.n = int(out.count)
		p.index()
		return nil
	}
}

// room makes place for limit pairs.
func (p *Pairs) room(limit int) {
	if len(p.lens) < limit {
		p.lens = make([]C.udb_pair, limit)
		p.offs = make([]uint32, limit)
	}
	if want := min(max(limit*pairBytes, firstScanBytes), maxScanBytes); len(p.buf) < want {
		p.buf = make([]byte, want)
	}
}

func (p *Pairs) index() {
	off := uint32(0)
	for i := range p.n {
		p.offs[i] = off
		off += uint32(p.lens[i].klen) + uint32(p.lens[i].vlen)
	}
}
