package dbkernel

import (
	"sync/atomic"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Counters are running totals since the start, and a few sizes of the moment.
type Counters struct {
	Records, Ops, Bytes  uint64 // appended
	Groups, Fsyncs       uint64
	Flushes, FlushedKeys uint64
	Expired              uint64
	WriteStall           time.Duration // that writers waited for a flush
	LiveBytes            int64         // keys and values, open uploads included; never too low
	MemtableBytes        int64
	LogBytes             int64
	Segments             int
	TreeBytes            int64 // 0 while the tree is closed
	// OldestSnapshot is the age of the oldest read transaction of the tree: one of more
	// than a second makes its file grow.
	OldestSnapshot time.Duration
}

type counters struct {
	records, ops, bytes  atomic.Uint64
	groups, fsyncs       atomic.Uint64
	flushes, flushedKeys atomic.Uint64
	expired              atomic.Uint64
	stalled              atomic.Int64
}

func (c *counters) appended(p *pending) {
	ops := 0
	for _, r := range p.records {
		if r.Kind() == codec.KindBatch {
			ops += r.OpCount()
		}
	}
	c.records.Add(uint64(len(p.records)))
	c.ops.Add(uint64(ops))
	c.bytes.Add(uint64(p.bytes))
	c.groups.Add(1)
}

// Counters reads the namespace's counters. It opens one that was never used.
func (n *Namespace) Counters() Counters {
	if err := n.acquireLog(); err != nil {
		return Counters{}
	}
	defer n.releaseLog()
	c := &n.counters
	out := Counters{
		Records: c.records.Load(), Ops: c.ops.Load(), Bytes: c.bytes.Load(),
		Groups: c.groups.Load(), Fsyncs: c.fsyncs.Load(),
		Flushes: c.flushes.Load(), FlushedKeys: c.flushedKeys.Load(),
		Expired: c.expired.Load(), WriteStall: time.Duration(c.stalled.Load()),
		LiveBytes: n.point.Load().Live,
	}
	if list := n.mems.Load(); list != nil {
		for _, m := range list.tables {
			out.MemtableBytes += m.Bytes()
			out.LiveBytes += m.Live()
		}
	}
	for _, s := range n.log.Segments() {
		out.LogBytes += s.Bytes
		out.Segments++
	}
	if n.acquireHot() {
		defer n.release()
		if stats, err := n.tree.Stats(); err == nil {
			out.TreeBytes, out.OldestSnapshot = stats.FileBytes, stats.OldestSnapshot
		}
	}
	return out
}
