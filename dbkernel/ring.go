package dbkernel

import (
	"sort"
	"sync/atomic"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

const (
	ringSlots = 1024    // groups
	ringBytes = 4 << 20 // of all groups together
)

// group is what was written with one frame: whole records in LSN order.
type group struct {
	first, last uint64
	bytes       int
	records     []codec.Record
}

// ring keeps the newest groups for readers that are close behind. The committer
// adds without a lock; a reader that comes too late for a slot sees another
// group in it, or none, and reads the log from disk instead. Readers hold no
// slot between two reads, so a stalled one keeps nothing alive.
type ring struct {
	slots [ringSlots]atomic.Pointer[group]
	end   atomic.Uint64 // groups ever added; the newest is in slot (end-1) % ringSlots

	start uint64 // oldest group kept; the committer's alone
	bytes int    // of the groups kept; the committer's alone
}

// add appends a group. Only the committer may call it.
func (r *ring) add(g *group) {
	end := r.end.Load()
	for r.start < end && (end-r.start == ringSlots || r.bytes+g.bytes > ringBytes) {
		slot := &r.slots[r.start%ringSlots]
		r.bytes -= slot.Load().bytes
		slot.Store(nil)
		r.start++
	}
	r.slots[end%ringSlots].Store(g)
	r.bytes += g.bytes
	r.end.Store(end + 1)
}

// read collects records from LSN from up to limit, about maxBytes of them but
// at least one. It answers false if the ring doesn't hold from.
func (r *ring) read(from, limit uint64, maxBytes int) (run Run, ok bool) {
	end := r.end.Load()
	low := uint64(0)
	if end > ringSlots {
		low = end - ringSlots
	}
	// A slot that was emptied or used again lies before what is kept.
	i := low + uint64(sort.Search(int(end-low), func(i int) bool {
		g := r.slots[(low+uint64(i))%ringSlots].Load()
		return g != nil && g.last >= from
	}))
	run.First = from
	next := from
	for ; i < end; i++ {
		g := r.slots[i%ringSlots].Load()
		if g == nil || next < g.first || next > g.last {
			break
		}
		for ; next <= min(g.last, limit); next++ {
			rec := g.records[next-g.first]
			if run.Bytes > 0 && run.Bytes+len(rec) > maxBytes {
				return run.until(next - 1), true
			}
			run.Records = append(run.Records, rec)
			run.Bytes += len(rec)
		}
		if next > limit {
			break
		}
	}
	return run.until(next - 1), run.Bytes > 0
}

func (run Run) until(last uint64) Run {
	run.Last, run.Live = last, true
	return run
}
