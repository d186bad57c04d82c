package delivery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// errLost: the cursor isn't a place in the log any more.
var errLost = errors.New("the log doesn't hold what the cursor points to")

// runBytes is how much of the log is read at once. One record may be longer.
const runBytes = 256 << 10

// session is the work on one handle of the namespace.
type session struct {
	*Pump
	h       history
	lineage dbkernel.Lineage
	table   []dbkernel.EpochStart
	log     follower // nil before open

	// The run that is being taken apart.
	run       run
	pull      func() (dbkernel.Change, error, bool) // nil: there is none
	stop      func()
	moved     int     // bytes of the log since then
	what      settled // what lies in them, as far as it is settled
	following bool    // the window says how far everything is settled
	// overlap says that the log ended before what was seen: it is another copy of the
	// history, which has to grow up to it, or turns out to be cut.
	overlap bool
}

func (s *session) close() {
	s.endRun()
	if s.log != nil {
		s.log.Close()
	}
}

func (s *session) endRun() {
	if s.pull != nil {
		s.stop()
		s.pull, s.run = nil, run{}
	}
}

// open finds where to go on, and begins there. A place that is new is durable before
// anything is sent from it: what comes behind it is owed.
func (s *session) open(ctx context.Context) error {
	st := s.h.Status()
	if st.Unreadable {
		return fmt.Errorf("the namespace can't be read: %s", st.Reason)
	}
	s.lineage, s.table = st.Lineage, s.h.EpochTable()
	if err := s.find(ctx, st); err != nil || !s.unsaved {
		return err
	}
	err := s.saver.saveNow(ctx, s.read)
	switch {
	case errors.Is(err, dbkernel.ErrReadOnly):
		return errReadOnly
	case err != nil:
		return fmt.Errorf("saving where the notifier begins: %w", err)
	}
	s.unsaved = false
	return nil
}

// find goes on where it was, or begins where it is configured.
func (s *session) find(ctx context.Context, st dbkernel.Status) error {
	if !s.known && s.lost == nil {
		if err := s.load(ctx); err != nil {
			return err
		}
		if !s.known && s.lost == nil {
			return s.begin(ctx, st, s.opts.StartFrom, false)
		}
	}
	if s.lost == nil {
		err := s.goOn(st)
		if !errors.Is(err, errLost) && !errors.Is(err, dbkernel.ErrTrimmed) {
			return err
		}
		s.lose(err)
	}
	return s.begin(ctx, st, s.opts.RestartFrom, true)
}

// load reads the durable cursor. One that is damaged is lost.
func (s *session) load(ctx context.Context) error {
	if s.opts.Cursor == nil {
		return nil
	}
	c, found, err := s.opts.Cursor.Load(ctx)
	if errors.Is(err, errDamaged) {
		s.lose(err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the cursor: %w", err)
	}
	s.known, s.read, s.seen = found, c, latest(c.record(), c.Seen)
	s.read.Seen = Record{}
	return nil
}

// goOn continues behind what was read.
func (s *session) goOn(st dbkernel.Status) error {
	if s.read.Lineage != st.Lineage {
		return fmt.Errorf("%w: it is of lineage %s, the namespace of %s", errLost, s.read.Lineage, st.Lineage)
	}
	for _, r := range []Record{s.read.record(), s.seen} {
		if err := s.fits(r, st.LSN); err != nil {
			return err
		}
	}
	from := min(s.read.next(), st.LSN+1)
	s.overlap = st.LSN < s.seen.LSN
	return s.startAt(from)
}

// fits checks that a record is in this history, whose log ends at end. One beyond that
// may come to be in it, or turn out not to: a copy may lag, even behind the beginning of the
// record's epoch, and a history that was cut goes on with a later one.
func (s *session) fits(r Record, end uint64) error {
	epoch, bits := s.epochAt(r.LSN)
	if epoch == r.Epoch && bits == r.Bits || epoch < r.Epoch && end < r.LSN {
		return nil
	}
	return fmt.Errorf("%w: it is at LSN %d of epoch %d, the history has epoch %d there: it was cut off", errLost, r.LSN, r.Epoch, epoch)
}

func (s *session) epochAt(lsn uint64) (epoch, bits uint64) {
	for i := len(s.table) - 1; i >= 0; i-- {
		if s.table[i].FirstLSN <= lsn {
			return s.table[i].Epoch, s.table[i].Bits
		}
	}
	return 0, 0
}

func (s *session) cursorAt(lsn uint64) Cursor {
	c := Cursor{Lineage: s.lineage, LSN: lsn}
	c.Epoch, c.Bits = s.epochAt(lsn)
	return c
}

// startAt follows the log from an LSN on.
func (s *session) startAt(from uint64) error {
	f, err := s.h.follow("notifier "+s.opts.Name, from)
	if err != nil {
		return err
	}
	s.log = f
	s.setPin(f)
	return nil
}

// begin begins where it is configured, at first or after the cursor was lost. The notifier
// is told before anything else that what it has derived is void.
func (s *session) begin(ctx context.Context, st dbkernel.Status, from Start, reset bool) error {
	c := s.cursorAt(s.h.CommitLSN())
	switch from {
	case FromOldest:
		c = s.cursorAt(st.FirstLSN - 1)
	case FromSnapshot:
		c.Snapshot, reset = &SnapshotCursor{}, true
	}
	if err := s.startAt(c.next()); err != nil {
		if errors.Is(err, dbkernel.ErrTrimmed) {
			err = fmt.Errorf("the log was trimmed meanwhile: %v", err) //nolint:errorlint // no cursor is lost by it
		}
		return err
	}
	if reset {
		s.window.clear()
		s.window.add(&pluginv1.Event{
			Operation: pluginv1.Operation_OPERATION_RESET, Lsn: c.LSN, Epoch: c.Epoch, TimeUnixNano: time.Now().UnixNano(),
		}, place{}, time.Now())
		if err := s.drain(ctx); err != nil {
			return err
		}
	}
	s.known, s.unsaved, s.read, s.seen, s.lost, s.page = true, true, c, c.record(), nil, nil
	s.show(c)
	return nil
}

// snapshot sends what is there, a page at a time, from where read says.
func (s *session) snapshot(ctx context.Context) error {
	for s.read.Snapshot != nil {
		s.setState(StateSnapshot)
		if s.page == nil {
			if err := s.readPage(ctx); err != nil {
				return err
			}
		}
		if err := s.drain(ctx); err != nil {
			return err
		}
		s.read, s.page = *s.page, nil
		s.what = settledEvents
		s.progress()
	}
	return nil
}

// readPage takes a page of what is there into the window. What the page has seen of the
// log counts as seen: were that cut off, a key that is passed over here would never be told. Of a key that has changed since
// the snapshot began the log tells, and in order. A row may have older columns beside
// those, of which the log doesn't tell: it is told as of the beginning.
func (s *session) readPage(ctx context.Context) error {
	page, err := s.h.SnapshotChanges(ctx, s.read.Snapshot.From, s.opts.MaxBatch)
	if err != nil {
		return err
	}
	if page.Position.LSN < s.read.LSN {
		return fmt.Errorf("the namespace is at LSN %d, the snapshot began at LSN %d: it goes on when the namespace has caught up", page.Position.LSN, s.read.LSN)
	}
	s.refresh()
	s.seen = latest(s.seen, s.cursorAt(page.Position.LSN).record())
	now := time.Now()
	for _, c := range page.Changes {
		if c.LSN > s.read.LSN {
			if c.Type != dbkernel.EntryRow {
				continue
			}
			c.LSN, c.Epoch = s.read.LSN, s.read.Epoch
		}
		c.Time = now // when it was written isn't kept
		if s.opts.Filter.passes(c) {
			s.window.add(eventOf(c), place{}, now)
		}
	}
	next := s.read
	if next.Snapshot = nil; page.Next != nil {
		next.Snapshot = &SnapshotCursor{From: page.Next}
	}
	s.page = &next
	return nil
}

// follow delivers the log's changes until something ends it.
func (s *session) follow(ctx context.Context) error {
	s.setState(StateFollowing)
	s.following = true
	for {
		if err := s.gather(ctx); err != nil {
			return err
		}
		if err := s.send(ctx); err != nil {
			return err
		}
	}
}

// drain delivers what is in the window, without reading on.
func (s *session) drain(ctx context.Context) error {
	for !s.window.empty() {
		if err := s.waitUntil(ctx, s.window.due(time.Now(), 0)); err != nil {
			return err
		}
		if err := s.send(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// gather reads on until a batch is due.
func (s *session) gather(ctx context.Context) error {
	for {
		now := time.Now()
		due := s.window.due(now, s.opts.MaxDelay)
		switch {
		case !due.IsZero() && !due.After(now):
			return ctx.Err()
		case s.window.full():
			if err := s.waitUntil(ctx, due); err != nil {
				return err
			}
		default:
			if err := s.fill(ctx, due); err != nil {
				return err
			}
		}
	}
}

func (s *session) waitUntil(ctx context.Context, at time.Time) error {
	sleep(ctx, time.Until(at))
	return ctx.Err()
}

// fill takes changes into the window: those of the run at hand or, where there is none,
// of the next one, for which it waits until then; zero: for as long as it takes.
func (s *session) fill(ctx context.Context, until time.Time) error {
	if s.pull == nil {
		if err := s.nextRun(ctx, until); err != nil || s.pull == nil {
			return err
		}
	}
	now := time.Now()
	at := place{lsn: s.read.LSN, epoch: s.read.Epoch, changes: s.read.Changes}
	for !s.window.full() {
		c, err, ok := s.pull()
		if err != nil {
			return err
		}
		if !ok {
			if s.run.last >= at.lsn { // else a copy that lags hasn't come up to it
				at = place{lsn: s.run.last}
				at.epoch, _ = s.epochAt(at.lsn)
			}
			s.endRun()
			break
		}
		if s.read.settled(c) {
			continue
		}
		if !s.opts.Filter.passes(c) {
			s.what = max(s.what, settledPassed)
		} else if e := eventOf(c); !s.setAside(e) {
			s.window.add(e, placeBefore(c), now)
		}
		at = placeBehind(c)
	}
	s.read = s.cursorOf(at)
	s.seen = latest(s.seen, s.read.record())
	s.progress()
	return nil
}

// setAside reports whether an event that comes again after a crash is a dead letter
// already. Sent once more, it could be accepted behind later ones of its key.
func (s *session) setAside(e *pluginv1.Event) bool {
	d := s.opts.DeadLetters
	return d != nil && d.has(letter{namespace: s.opts.Namespace, lineage: s.lineage.String(), event: e}.identity())
}

// nextRun waits for records, at most until then.
func (s *session) nextRun(ctx context.Context, until time.Time) error {
	waiting, cancel := ctx, func() {}
	if !until.IsZero() {
		waiting, cancel = context.WithDeadline(ctx, until)
	}
	defer cancel()
	r, err := s.log.next(waiting, runBytes)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return nil
		}
		return err
	}
	s.refresh()
	if s.overlap {
		if err := s.fits(s.seen, r.last); err != nil {
			return err
		}
		s.overlap = r.last < s.seen.LSN
	}
	s.run = r
	s.moved += r.bytes
	s.pull, s.stop = iter.Pull2(func(yield func(dbkernel.Change, error) bool) {
		err := r.changes(func(c dbkernel.Change) error {
			if !yield(c, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(dbkernel.Change{}, err)
		}
	})
	return nil
}

// errEnough ends the walk through a run.
var errEnough = errors.New("enough")

// refresh reads the epoch table again where an epoch has begun.
func (s *session) refresh() {
	p, err := s.h.Position()
	if err != nil || len(s.table) > 0 && p.Epoch == s.table[len(s.table)-1].Epoch {
		return
	}
	if table := s.h.EpochTable(); table != nil {
		s.table = table
	}
}

// progress tells everybody how far everything is settled.
func (s *session) progress() {
	c := s.read
	if c.Snapshot == nil && !s.window.empty() {
		c = s.cursorOf(s.window.oldest())
	}
	if s.seen.LSN > c.LSN {
		c.Seen = s.seen
	}
	s.show(c)
	s.saver.offer(c, s.moved, s.what)
	s.moved, s.what = 0, settledNothing
}

// latest is the later of two records of a history.
func latest(a, b Record) Record {
	if a.LSN > b.LSN {
		return a
	}
	return b
}

func (s *session) cursorOf(p place) Cursor {
	c := Cursor{Lineage: s.lineage, Epoch: p.epoch, LSN: p.lsn, Changes: p.changes}
	_, c.Bits = s.epochAt(p.lsn)
	return c
}

// show puts a cursor into the status.
func (s *session) show(c Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Cursor, s.status.Pending = c.Position(), len(s.window.entries)
}
