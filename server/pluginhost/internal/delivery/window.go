package delivery

import (
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// window holds the events that were read and aren't settled yet, in order. It is
// all that a pump keeps of the log, and bounded: in events, in bytes, and in how
// many later ones may have been settled while its oldest waits.
type window struct {
	maxEvents    int
	latestPerKey bool

	entries []entry
	bytes   int
	delayed int       // entries that wait for a time of their own
	unsent  int       // entries that were never sent; they are the last ones
	since   time.Time // when the first of these came
	packed  bool      // what could be dropped was; full, though there is a little room
	taken   uint64    // events ever added
}

// entry is an event that isn't settled.
type entry struct {
	event *pluginv1.Event
	// seq is the window's count of events when it came, after the place before it,
	// where the cursor stays until it is settled. Where it speaks for earlier ones,
	// both are those of the first of them.
	seq      uint64
	after    place
	refusals int
	first    time.Time // when it was refused first
	not      time.Time // it isn't sent before; zero: at once
	dead     bool      // refused for good, and about to be set aside
}

// place is a place between two changes: behind all of the record lsn or, where
// changes isn't 0, behind so many of its changes.
type place struct {
	lsn     uint64
	epoch   uint64
	changes int
}

// before reports whether p comes before q.
func (p place) before(q place) bool {
	if p.lsn == q.lsn && p.changes > 0 && q.changes > 0 {
		return p.changes < q.changes
	}
	return p.lsn < q.lsn || p.lsn == q.lsn && p.changes > 0 && q.changes == 0
}

// placeBefore is the place before a change. An epoch begins with a record that has
// no changes, so the record before one that has is of the same epoch.
func placeBefore(c dbkernel.Change) place {
	if c.Index > 0 {
		return place{lsn: c.LSN, epoch: c.Epoch, changes: c.Index}
	}
	return place{lsn: c.LSN - 1, epoch: c.Epoch}
}

// placeBehind is the place behind a change.
func placeBehind(c dbkernel.Change) place {
	if c.Index+1 < c.Count {
		return place{lsn: c.LSN, epoch: c.Epoch, changes: c.Index + 1}
	}
	return place{lsn: c.LSN, epoch: c.Epoch}
}

const (
	// windowBytes bounds the keys and column names of a window. A single event may be
	// larger.
	windowBytes = 1 << 20
	// windowsAhead bounds how many events may be taken in while the oldest one waits,
	// as a multiple of maxEvents: so many come again at most after a crash.
	windowsAhead = 16
)

// entity is what order is kept for: a key of an entry type.
type entity struct{ entryType, key string }

func entityOf(e *pluginv1.Event) entity { return entity{e.EntryType, string(e.Key)} }

func sizeOf(e *pluginv1.Event) int {
	n := len(e.Key)
	for _, c := range e.Columns {
		n += len(c)
	}
	return n
}

// add takes an event in.
func (w *window) add(e *pluginv1.Event, after place, now time.Time) {
	if w.unsent == 0 {
		w.since = now
	}
	w.taken++
	w.entries = append(w.entries, entry{event: e, seq: w.taken, after: after})
	w.bytes += sizeOf(e)
	w.unsent++
	if w.latestPerKey && w.full() {
		w.coalesce()
	}
}

// full reports whether nothing more may be added.
func (w *window) full() bool {
	if len(w.entries) == 0 {
		return false
	}
	return w.packed || len(w.entries) >= w.maxEvents || w.bytes >= windowBytes ||
		w.taken-w.entries[0].seq >= uint64(w.maxEvents)*windowsAhead
}

// due answers when the next batch may go: now or earlier where one is ready, zero where
// nothing is there. What was never sent waits for maxDelay, unless the window is full.
func (w *window) due(now time.Time, maxDelay time.Duration) (at time.Time) {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	fresh := w.since.Add(maxDelay)
	if w.full() {
		fresh = now
	}
	sent := len(w.entries) - w.unsent
	if w.delayed == 0 { // the usual case
		if sent > 0 {
			sooner(now)
		} else if w.unsent > 0 {
			sooner(fresh)
		}
		return at
	}
	var held entities
	for i := range w.entries {
		e := &w.entries[i]
		switch {
		case held.has(e.event):
		case e.not.After(now):
			held.add(e.event)
			sooner(e.not)
		case i < sent:
			sooner(now)
		default:
			sooner(fresh)
		}
	}
	return at
}

// oldest is the place behind which something isn't settled. The window isn't empty.
func (w *window) oldest() place {
	p := w.entries[0].after
	if w.latestPerKey {
		for _, e := range w.entries[1:] {
			if e.after.before(p) {
				p = e.after
			}
		}
	}
	return p
}

// batch answers which entries go now, in order: all but those that have to wait, and
// those behind them with the same key.
func (w *window) batch(now time.Time) (events []*pluginv1.Event, at []int) {
	events, at = make([]*pluginv1.Event, 0, len(w.entries)), make([]int, 0, len(w.entries))
	var held entities
	for i := range w.entries {
		e := &w.entries[i]
		if w.delayed > 0 {
			if held.has(e.event) {
				continue
			}
			if e.not.After(now) {
				held.add(e.event)
				continue
			}
		}
		events, at = append(events, e.event), append(at, i)
	}
	return events, at
}

// sent notes that entries were sent. Those that weren't are still held back by
// another one, and no longer by the wait for company.
func (w *window) sent() { w.unsent, w.packed = 0, false }

// settle takes entries out, by their places.
func (w *window) settle(gone func(i int) bool) {
	kept := w.entries[:0]
	w.bytes, w.delayed = 0, 0
	for i := range w.entries {
		if gone(i) {
			continue
		}
		e := w.entries[i]
		kept = append(kept, e)
		w.bytes += sizeOf(e.event)
		if !e.not.IsZero() {
			w.delayed++
		}
	}
	clear(w.entries[len(kept):])
	w.entries = kept
}

func (w *window) empty() bool { return len(w.entries) == 0 }

// clear forgets everything.
func (w *window) clear() {
	w.entries, w.bytes, w.delayed, w.unsent, w.packed = nil, 0, 0, 0, false
}

// entities is a set that is made when it is needed.
type entities map[entity]struct{}

func (s *entities) add(e *pluginv1.Event) {
	if *s == nil {
		*s = entities{}
	}
	(*s)[entityOf(e)] = struct{}{}
}

func (s entities) has(e *pluginv1.Event) bool {
	if len(s) == 0 {
		return false
	}
	_, ok := s[entityOf(e)]
	return ok
}

// operationOf is an operation in the contract's numbers.
func operationOf(op dbkernel.Operation) pluginv1.Operation {
	switch op {
	case dbkernel.ChangePut:
		return pluginv1.Operation_OPERATION_PUT
	case dbkernel.ChangeDelete:
		return pluginv1.Operation_OPERATION_DELETE
	case dbkernel.ChangeDeleteRow:
		return pluginv1.Operation_OPERATION_DELETE_ROW
	case dbkernel.ChangeExpire:
		return pluginv1.Operation_OPERATION_EXPIRE
	default:
		return pluginv1.Operation_OPERATION_UNSPECIFIED
	}
}

// eventOf is a change as plugins get it. The key's bytes are the event's own, so that
// nothing holds on to the log's memory.
func eventOf(c dbkernel.Change) *pluginv1.Event {
	e := &pluginv1.Event{
		Key: slices.Clone(c.Key), Operation: operationOf(c.Operation), EntryType: c.Type,
		Lsn: c.LSN, Epoch: c.Epoch, Index: uint32(c.Index), Count: uint32(c.Count), Columns: c.Columns,
	}
	if !c.Time.IsZero() {
		e.TimeUnixNano = c.Time.UnixNano()
	}
	return e
}
