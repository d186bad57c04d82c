package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// fakeNamespace is a namespace that tests write, trim, cut off and replace.
type fakeNamespace struct {
	mu      sync.Mutex
	handle  *fakeLog
	absent  bool
	lookups int
}

// fakeLog is a handle of it.
type fakeLog struct {
	mu      sync.Mutex
	lineage dbkernel.Lineage
	first   uint64 // LSN of records[0]
	records [][]dbkernel.Change
	table   []dbkernel.EpochStart
	over    error
	pins    map[*fakeTail]uint64
	changed chan struct{}
	reads   int // calls of next that answered
}

func newFakeNamespace() *fakeNamespace {
	n := &fakeNamespace{handle: newFakeLog(1)}
	n.handle.beginEpoch()
	return n
}

func newFakeLog(lineage byte) *fakeLog {
	return &fakeLog{lineage: dbkernel.Lineage{lineage}, first: 1, pins: map[*fakeTail]uint64{}, changed: make(chan struct{})}
}

func (n *fakeNamespace) find() (history, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups++
	if n.absent {
		return nil, dbkernel.ErrNamespaceNotFound
	}
	return n.handle, nil
}

func (n *fakeNamespace) log() *fakeLog {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.handle
}

// replace puts another handle into the place of the one there is.
func (n *fakeNamespace) replace(l *fakeLog) {
	n.mu.Lock()
	old := n.handle
	n.handle = l
	n.mu.Unlock()
	old.mu.Lock()
	defer old.mu.Unlock()
	old.over = dbkernel.ErrSuperseded
	old.wakeLocked()
}

// truncate cuts the log off behind an LSN; another epoch goes on there.
func (n *fakeNamespace) truncate(after uint64) {
	l := n.log().copyTo(after)
	l.beginEpoch()
	n.replace(l)
}

// copyTo is the log up to an LSN, as another node or a later handle has it.
func (l *fakeLog) copyTo(last uint64) *fakeLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newFakeLog(l.lineage[0])
	c.first = l.first
	c.records = slices.Clone(l.records[:last+1-l.first])
	for _, e := range l.table {
		if e.FirstLSN <= last {
			c.table = append(c.table, e)
		}
	}
	return c
}

func (l *fakeLog) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *fakeLog) lastLocked() uint64 { return l.first + uint64(len(l.records)) - 1 }

func (l *fakeLog) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastLocked()
}

// epochs makes numbers and bits that are never the same.
var epochs struct {
	sync.Mutex
	n uint64
}

func (l *fakeLog) beginEpoch() {
	epochs.Lock()
	epochs.n++
	n := epochs.n
	epochs.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table = append(l.table, dbkernel.EpochStart{Epoch: n, Bits: n * 7, FirstLSN: l.lastLocked() + 1})
	l.records = append(l.records, nil)
	l.wakeLocked()
}

// put adds a record that puts keys; none: one without changes.
func (l *fakeLog) put(keys ...string) uint64 {
	changes := make([]dbkernel.Change, len(keys))
	for i, key := range keys {
		changes[i] = dbkernel.Change{Operation: dbkernel.ChangePut, Type: dbkernel.EntryKV, Key: []byte(key)}
	}
	return l.append(changes...)
}

func (l *fakeLog) append(changes ...dbkernel.Change) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		c.LSN, c.Epoch, c.Index, c.Count = l.lastLocked()+1, l.table[len(l.table)-1].Epoch, i, len(changes)
		c.Time = time.Now()
	}
	l.records = append(l.records, changes)
	l.wakeLocked()
	return l.lastLocked()
}

// trim removes what lies before an LSN, as far as the pins let it.
func (l *fakeLog) trim(before uint64, breakPins bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !breakPins && len(l.pins) == 0 {
		return // between two handles nothing is held; the kernel's retention sees to that
	}
	for _, from := range l.pins {
		if !breakPins {
			before = min(before, from)
		}
	}
	before = min(before, l.lastLocked())
	if before > l.first {
		l.records = l.records[before-l.first:]
		l.first = before
	}
}

func (l *fakeLog) Status() dbkernel.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return dbkernel.Status{Lineage: l.lineage, LSN: l.lastLocked(), CommitLSN: l.lastLocked(), FirstLSN: l.first}
}

func (l *fakeLog) Position() (dbkernel.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := dbkernel.Position{Lineage: l.lineage, LSN: l.lastLocked()}
	if len(l.table) > 0 {
		p.Epoch = l.table[len(l.table)-1].Epoch
	}
	return p, l.over
}

func (l *fakeLog) EpochTable() []dbkernel.EpochStart {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.table)
}

func (l *fakeLog) CommitLSN() uint64 { return l.last() }

func (l *fakeLog) follow(_ string, from uint64) (follower, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over != nil:
		return nil, l.over
	case from < l.first:
		return nil, fmt.Errorf("%w: %d", dbkernel.ErrTrimmed, from)
	case from > l.lastLocked()+1:
		return nil, fmt.Errorf("%w: %d", dbkernel.ErrGap, from)
	}
	t := &fakeTail{l: l, at: from}
	l.pins[t] = from
	return t, nil
}

// SnapshotChanges reads what the log's records add up to, a key a place.
func (l *fakeLog) SnapshotChanges(_ context.Context, from []byte, limit int) (dbkernel.ChangePage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return dbkernel.ChangePage{}, l.over
	}
	now := map[string]dbkernel.Change{}
	for _, r := range l.records {
		for _, c := range r {
			key := c.Type + "/" + string(c.Key)
			if c.Operation == dbkernel.ChangePut {
				c.Columns = append(slices.Clone(now[key].Columns), c.Columns...)
				c.Index, c.Count, c.Time = 0, 0, time.Time{}
				now[key] = c
			} else {
				delete(now, key)
			}
		}
	}
	var keys []string
	for key := range now {
		if key >= string(from) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	page := dbkernel.ChangePage{Position: dbkernel.Position{Lineage: l.lineage, LSN: l.lastLocked()}}
	for _, key := range keys {
		if len(page.Changes) == limit {
			page.Next = []byte(key)
			break
		}
		page.Changes = append(page.Changes, now[key])
	}
	return page, nil
}

// fakeTail reads a fakeLog, a few records at a time.
type fakeTail struct {
	l  *fakeLog
	at uint64
}

const fakeRun = 3 // records

func (t *fakeTail) next(ctx context.Context, _ int) (run, error) {
	for {
		t.l.mu.Lock()
		over, first, last, changed := t.l.over, t.l.first, t.l.lastLocked(), t.l.changed
		switch {
		case over != nil:
			t.l.mu.Unlock()
			return run{}, over
		case t.at < first:
			t.l.mu.Unlock()
			return run{}, fmt.Errorf("%w: %d", dbkernel.ErrTrimmed, t.at)
		case t.at <= last:
			r := run{first: t.at, last: min(last, t.at+fakeRun-1)}
			records := slices.Clone(t.l.records[t.at-first : r.last+1-first])
			t.at = r.last + 1
			r.bytes = 100 * len(records)
			t.l.reads++
			t.l.mu.Unlock()
			r.changes = func(fn func(dbkernel.Change) error) error {
				for _, record := range records {
					for _, c := range record {
						if err := fn(c); err != nil {
							return err
						}
					}
				}
				return nil
			}
			return r, nil
		}
		t.l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return run{}, ctx.Err()
		}
	}
}

func (t *fakeTail) Ack(lsn uint64) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if from, ok := t.l.pins[t]; ok {
		t.l.pins[t] = max(from, lsn+1)
	}
}

func (t *fakeTail) Close() {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	delete(t.l.pins, t)
}

// pinned is the first LSN that is kept for readers, 0 without any.
func (l *fakeLog) pinned() (first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, from := range l.pins {
		if first == 0 || from < first {
			first = from
		}
	}
	return first
}

// fakeCursor keeps a cursor in memory.
type fakeCursor struct {
	mu    sync.Mutex
	c     Cursor
	there bool
	err   error
	saves []Cursor
	took  time.Duration // each save takes so long
	// onSave is called within each save.
	onSave func()
}

func (f *fakeCursor) Load(context.Context) (Cursor, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.c, f.there, nil
}

func (f *fakeCursor) Save(_ context.Context, c Cursor) error {
	time.Sleep(f.took)
	f.mu.Lock()
	err, onSave := f.err, f.onSave
	if err == nil {
		f.c, f.there = c, true
		f.saves = append(f.saves, c)
	}
	f.mu.Unlock()
	if onSave != nil {
		onSave()
	}
	return err
}

func (f *fakeCursor) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeCursor) saved() []Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.saves)
}
