package dbkernel

import (
	"context"
	"time"
)

const (
	housekeepingInterval = time.Second
	trimEvery            = 10 // rounds
	asideEvery           = 60 // rounds
)

// keepHouse does what no request waits for: expiries, idle namespaces, timed
// flushes, flushes that failed, trimming by age.
func (db *DB) keepHouse(ctx context.Context) {
	tick := time.NewTicker(housekeepingInterval)
	defer tick.Stop()
	for round := 1; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := db.opts.Clock()
		for _, n := range db.loaded() {
			n.keepHouse(ctx, now, round%trimEvery == 0)
		}
		db.scrubDue(ctx, now)
		if round%asideEvery == 1 {
			db.tidyAside(now)
		}
	}
}

// tidyAside removes what was set aside for a time. A large directory takes a while,
// so nobody waits for it but the close.
func (db *DB) tidyAside(now time.Time) {
	if db.tidyingAside.Swap(true) {
		return
	}
	db.wg.Go(func() {
		defer db.tidyingAside.Store(false)
		if err := db.removeDueAside(now); err != nil {
			db.opts.Logger.Error("tidying up what was set aside failed; it is tried again in a minute", "error", err)
		}
	})
}

// keepHouse starts what there is to do. A namespace that is slow, or stuck, does
// not keep others waiting: each has a goroutine of its own, one at a time, and
// idle ones mostly need none.
func (n *Namespace) keepHouse(ctx context.Context, now time.Time, trim bool) {
	if !n.life.mu.TryLock() {
		return // it is being opened; the next round comes
	}
	loaded, hot := n.life.loaded, n.life.hot
	n.life.mu.Unlock()
	due := n.nextDue.Load()
	if !loaded || !hot && !trim && (due == 0 || due > now.UnixNano()) || n.tended.Swap(true) {
		return
	}
	n.db.wg.Go(func() {
		defer n.tended.Store(false)
		n.scheduleFlush() // one that failed
		n.expireTransactions(now)
		n.expireDue(ctx, now.UnixNano())
		if trim {
			n.tendHolds()
			n.trim()
		}
		if hot {
			n.flushByTime(ctx, now)
			n.markByTime(ctx, now)
			n.releaseIdle(ctx, now)
		}
	})
}

// flushByTime starts a flush where storage.flush_interval asks for one.
func (n *Namespace) flushByTime(ctx context.Context, now time.Time) {
	interval := n.opts.Load().Storage.FlushInterval
	list := n.mems.Load()
	if interval == 0 || list == nil || n.applied.Load() == list.base {
		return
	}
	if flushed := n.point.Load().Time; now.UnixNano()-max(flushed, n.lastWrite.Load()-int64(interval)) < int64(interval) {
		return
	}
	if err := n.inCommitter(ctx, n.rotateAtMark); err != nil {
		return // the database is closing
	}
}

// relieve makes room in memory: the namespace with the largest active memtable
// is told to rotate. It answers false if that is the asking one.
func (db *DB) relieve(asking *Namespace) bool {
	largest, bytes := asking, int64(0)
	if list := asking.mems.Load(); len(list.tables) == 1 {
		bytes = list.active().Bytes()
	}
	for _, n := range db.loaded() {
		list := n.mems.Load()
		if n == asking || list == nil || len(list.tables) > 1 {
			continue
		}
		if b := list.active().Bytes(); b > bytes && list.active().Keys() > 0 {
			largest, bytes = n, b
		}
	}
	if largest != asking {
		largest.askRotate()
	}
	return largest != asking
}

// askRotate has the committer rotate when it comes to it.
func (n *Namespace) askRotate() {
	q := &n.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	for _, r := range q.waiting {
		if r.control != nil {
			return // one is enough
		}
	}
	r := newRequest()
	r.control = n.rotateAtMark
	q.waiting = append(q.waiting, r)
	if !q.running {
		q.running = true
		n.wg.Go(n.commitLoop)
	}
}
