package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

const (
	// saveEvery is the least time between two saves of a cursor.
	saveEvery = time.Second
	// passEvery is how long what the filter passed over waits for a save, and
	// passBytes how much of the log that may be: so much is read in vain after a restart.
	passEvery = time.Minute
	passBytes = 16 << 20
)

// settled says what moved a cursor, and so whether that is worth a save.
type settled int

const (
	// settledNothing: records without changes, such as the cursors themselves. If they
	// were saved, each save would make another.
	settledNothing settled = iota
	// settledPassed: changes that the filter passed over, soon worth one.
	settledPassed
	// settledEvents: events that were accepted or set aside.
	settledEvents
)

// saver makes a cursor durable: at most once a second, beside the delivery, and once
// more at its end.
type saver struct {
	store  CursorStore // nil: nothing is kept
	saved  func(Cursor)
	failed func(error)
	wake   chan struct{} // has room for one

	saving sync.Mutex // held while the store is at work; before mu

	mu      sync.Mutex
	want    Cursor
	have    bool
	what    settled   // what want has more than what was saved, or is being saved
	busy    bool      // a save is under way
	since   time.Time // when that began
	last    time.Time // the last save, or the last try
	passed  int       // bytes of the log since the last save
	failing int       // tries in a row
}

func newSaver(store CursorStore, saved func(Cursor), failed func(error)) *saver {
	return &saver{store: store, saved: saved, failed: failed, wake: make(chan struct{}, 1)}
}

// offer says that the cursor moved, by how many bytes of the log, and over what.
func (s *saver) offer(c Cursor, bytes int, what settled) {
	s.mu.Lock()
	s.want, s.have = c, true
	s.passed += bytes
	if s.passed >= passBytes {
		what = settledEvents
	}
	rose := what > s.what
	if rose {
		if s.what == settledNothing {
			s.since = time.Now()
		}
		s.what = what
	}
	durable := s.store == nil || s.what == settledNothing && !s.busy
	if durable {
		s.passed, s.what = 0, settledNothing
	}
	s.mu.Unlock()
	if durable {
		s.saved(c)
		return
	}
	if rose {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// forget drops what isn't saved.
func (s *saver) forget() {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have, s.what, s.passed, s.failing = false, settledNothing, 0, 0
}

// next answers when to save, zero for never.
func (s *saver) next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.have || s.what == settledNothing {
		return time.Time{}
	}
	wait := saveEvery
	if s.failing > 0 {
		wait = max(wait, backoff(s.failing, 0))
	}
	at := s.last.Add(wait)
	if due := s.since.Add(passEvery); s.what == settledPassed && due.After(at) {
		return due
	}
	return at
}

// run saves until ctx ends, and then what is left, within grace.
func (s *saver) run(ctx context.Context, grace time.Duration) {
	if s.store == nil {
		return
	}
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		t.Stop()
		if at := s.next(); !at.IsZero() {
			t.Reset(time.Until(at))
		}
		select {
		case <-s.wake:
			continue
		case <-t.C:
			s.save(ctx)
		case <-ctx.Done():
			s.saveLast(ctx, grace)
			return
		}
	}
}

// saveLast saves what is left when ctx has ended.
func (s *saver) saveLast(ctx context.Context, grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	s.save(ctx)
}

// save saves what there is to save.
func (s *saver) save(ctx context.Context) {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	c, what, bytes := s.want, s.what, s.passed
	if what != settledNothing {
		// What comes from here on is counted anew: the cursor's own record is among it, and
		// is worth no save.
		s.busy, s.what, s.passed = true, settledNothing, 0
	}
	s.mu.Unlock()
	if what == settledNothing {
		return
	}
	err := s.store.Save(ctx, c)
	s.mu.Lock()
	s.busy, s.last = false, time.Now()
	if err == nil {
		s.failing = 0
		if s.what == settledNothing {
			c = s.want
		}
	} else {
		s.failing++
		s.what, s.passed = max(s.what, what), s.passed+bytes
	}
	first := s.failing == 1
	s.mu.Unlock()
	switch {
	case err == nil:
		s.saved(c)
	case first || errors.Is(err, dbkernel.ErrReadOnly):
		s.failed(err)
	}
}

// saveNow saves a cursor and waits for it.
func (s *saver) saveNow(ctx context.Context, c Cursor) error {
	if s.store != nil {
		s.saving.Lock()
		defer s.saving.Unlock()
		if err := s.store.Save(ctx, c); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.want, s.have, s.what, s.passed, s.last = c, true, settledNothing, 0, time.Now()
	s.mu.Unlock()
	s.saved(c)
	return nil
}
