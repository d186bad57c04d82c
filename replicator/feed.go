package replicator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// liveBatchBytes is the largest batch that followers share. Who takes only
// smaller ones reads the log itself.
const liveBatchBytes = 64 << 10

// feed turns the log of a namespace into batches, once for all its live
// followers. It is the only one that waits for commits; it exists while there are live
// followers.
type feed struct {
	*Source
	namespace string
	log       SourceLog
	reader    Reader
	cancel    context.CancelFunc
	mean      meanRecordBytes // the running goroutine's alone
	telling   atomic.Bool     // a round is under way

	mu     sync.Mutex
	ring   ring
	beats  beats
	err    error // why there is nothing more
	live   map[*cursor]struct{}
	joined uint64    // how many ever were
	parked []*cursor // who waits for something new
}

// errFellBehind: the feed no longer has what the follower needs next.
var errFellBehind = errors.New("the feed has moved on")

// feeds are a Source's, by namespace.
type feeds struct {
	mu     sync.Mutex
	byName map[string]*feed
}

// join makes a follower whose next record is next a live one, if the feed of
// the namespace has that record or comes to it. Without a feed there will be one if
// start says that the follower has all that is committed. A nil cursor: not yet.
func (s *Source) join(namespace string, log SourceLog, next uint64, start bool) (*cursor, error) {
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	f := s.feeds.byName[namespace]
	if f == nil || f.log != log || f.ended() {
		if !start {
			return nil, nil
		}
		var err error
		if f, err = s.startFeed(namespace, log, next); err != nil {
			return nil, &readError{err}
		}
		if s.feeds.byName == nil {
			s.feeds.byName = make(map[string]*feed)
		}
		s.feeds.byName[namespace] = f
	}
	return f.join(next), nil
}

// startFeed makes a feed whose first record is next. The caller has entered the
// source, so that Close waits for what is started.
func (s *Source) startFeed(namespace string, log SourceLog, next uint64) (*feed, error) {
	reader, err := log.Tail("feed", next)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	f := &feed{
		Source: s, namespace: namespace, log: log, reader: reader, cancel: cancel, ring: ring{next: next}, live: make(map[*cursor]struct{}),
	}
	acks := s.acks.enter(namespace)
	acks.watch(f)
	s.wg.Go(func() {
		f.run(ctx)
		acks.unwatch(f)
		s.acks.leave(namespace, acks)
	})
	return f, nil
}

// telling reports whether the live followers of a namespace are being told of something.
func (s *Source) telling(namespace string) bool {
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	f := s.feeds.byName[namespace]
	return f != nil && f.telling.Load()
}

// leave ends a follower's time as a live one. The last one ends the feed.
func (s *Source) leave(c *cursor) {
	s.feeds.mu.Lock()
	defer s.feeds.mu.Unlock()
	f := c.feed
	if f.leave(c) > 0 {
		return
	}
	f.cancel()
	if s.feeds.byName[f.namespace] == f {
		delete(s.feeds.byName, f.namespace)
	}
}

// run encodes what is committed until ctx ends.
func (f *feed) run(ctx context.Context) {
	defer f.reader.Close()
	p := packer{limit: liveBatchBytes, emit: f.add}
	_, due := f.beatsDue(time.Now())
	for ctx.Err() == nil {
		busy, err := f.untilNextBeat(ctx, due, &p)
		if err == nil {
			var fallen uint64
			fallen, due = f.beatsDue(due)
			err = f.announce(ctx, fallen, busy)
		}
		if err != nil {
			f.end(err)
			return
		}
	}
	f.end(context.Cause(ctx))
}

// untilNextBeat encodes what the log has, and tells those who wait for it, until a heartbeat is
// due or asked for. Busy: there was something.
func (f *feed) untilNextBeat(ctx context.Context, at time.Time, p *packer) (busy bool, err error) {
	unhurried, cancel := context.WithCancel(ctx)
	defer cancel()
	f.hurriedBy(cancel)
	defer f.hurriedBy(nil)
	due, stop := context.WithDeadline(unhurried, at)
	defer stop()
	for {
		if parked := f.takeParked((*cursor).lacksLocked); len(parked) > 0 {
			// A heartbeat that is due waits for the end of the round: without its rests a round is a burst.
			// Hurrying ends its rests, not its looks, which don't wait.
			err = f.round(unhurried, parked, func() error { return f.look(ctx, p) })
		} else {
			err = f.read(due, p)
		}
		switch {
		case err == nil:
			busy = true
		case due.Err() == nil || !errors.Is(err, due.Err()):
			return busy, err
		case !busy:
			p.release()
			f.forget()
		}
		if due.Err() != nil || f.beatWanted() { // which goes with the records
			return busy, nil
		}
	}
}

// look reads what the log has by now, if anything.
func (f *feed) look(ctx context.Context, p *packer) error {
	f.mu.Lock()
	next := f.ring.next
	f.mu.Unlock()
	if f.log.Status().CommitLSN < next {
		return nil
	}
	return f.read(ctx, p)
}

// read encodes what the log has next, for which it waits.
func (f *feed) read(ctx context.Context, p *packer) error {
	run, err := f.reader.Next(ctx, batchBytes)
	if err != nil {
		return &readError{err}
	}
	if err := p.pack(run); err != nil {
		return err
	}
	f.reader.Ack(run.Last)
	f.mean.add(run.Bytes, run.Last-run.First+1)
	return nil
}

// add makes a batch one that followers share.
func (f *feed) add(b batch) error {
	shared := newSharedBatch(b, &f.encoder)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring.add(shared)
	return nil
}

// forget drops the batches that every live follower has.
func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	least := f.ring.end()
	for c := range f.live {
		least = min(least, c.at.batch)
	}
	f.ring.forget(least)
}

// end says that nothing more comes, and why.
func (f *feed) end(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	for _, c := range f.takeParked(func(*cursor) bool { return true }) {
		signal(c.wake)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring.forget(f.ring.end())
}

func (f *feed) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// join places a cursor; nil where the ring doesn't reach back to next. A follower
// may be ahead of the feed: it then waits for what it hasn't got.
func (f *feed) join(next uint64) *cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.ring.find(next)
	if !ok {
		return nil
	}
	c := &cursor{feed: f, wake: make(chan struct{}, 1), at: at}
	c.had = beatsHad{number: f.beats.number, all: f.beats.forAll, phase: f.joined % maxBeatParts}
	f.live[c] = struct{}{}
	f.joined++
	return c
}

// leave removes a cursor and says how many are left.
func (f *feed) leave(c *cursor) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, c)
	return len(f.live)
}
