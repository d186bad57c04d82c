package replicator

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

const (
	// liveBatchBytes is the largest batch that followers share. Who takes only
	// smaller ones reads the log itself.
	liveBatchBytes = 64 << 10
	// feedBytes bounds the batches that a feed keeps for those who are a little
	// behind. Who falls out reads the log itself.
	feedBytes = 4 << 20
)

// A round tells the live followers that something is new, one after the other, a turn
// apart at least: so sending to many takes a share of the machine and leaves commits the rest,
// and what is committed meanwhile travels in the same messages, which cost about as much however
// little they carry. Both figures were found with 100 and 1,000 followers on two cores. For few
// followers the rests are too short to be taken; longestRound bounds what many add to the
// visibility of a write.
const (
	turn         = 65 * time.Microsecond
	longestRound = 65 * time.Millisecond
	minRest      = 200 * time.Microsecond
	// lookAfter is how many followers are told between two looks at the log.
	lookAfter = 256
)

// Heartbeats are acknowledged, all of them: with a thousand followers those of one round
// would keep two cores busy for as long as it lasts, and commits waiting. So each tells a
// part of the followers, one of as many as there are beatGroups, and the interval is divided by that.
const (
	beatGroup    = 64
	maxBeatParts = 8
)

// feed turns the log of a namespace into batches, once for all its live
// followers. It is the only one that waits for commits; it exists while there are live
// followers.
type feed struct {
	*Source
	namespace string
	log       SourceLog
	reader    Reader
	cancel    context.CancelFunc
	// The running goroutine's alone.
	mean   meanRecordBytes
	untold bool // records were read during a round, of which some were told before

	mu     sync.Mutex
	ring   []*sharedBatch // the newest batches, oldest first, without a gap
	start  uint64         // number of the batch at ring[0]; they are numbered from 0 on
	bytes  int            // of records in the ring
	next   uint64         // LSN behind what has been encoded
	beat   encoded        // the newest heartbeat, for who has all batches and hasn't had one for an interval
	beats  uint64         // its number
	forAll uint64         // number of the last one that is for everybody
	told   uint64         // LSN of the last record that such a one was made behind
	asked  uint64         // LSN of the last record that somebody wants such a one behind
	hurry  func()         // ends the wait for the log, while there is one
	err    error          // why there is nothing more; batches in the ring are still good
	live   map[*cursor]struct{}
	joined uint64    // how many ever were
	parked []*cursor // who waits for something new
}

// cursor is a live follower's place in a feed. All but wake is guarded by the feed's lock.
type cursor struct {
	feed  *feed
	wake  chan struct{} // holds a token once there is something new
	batch uint64        // number of the next batch
	next  uint64        // LSN that comes next
	beats uint64        // number of the last heartbeat
	all   uint64        // number of the last one that was for everybody
	phase uint64        // which part of the followers this one is in
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
		Source: s, namespace: namespace, log: log, reader: reader, cancel: cancel, next: next, live: make(map[*cursor]struct{}),
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
	due := time.Now()
	for ctx.Err() == nil {
		due = f.nextBeat(due)
		busy, err := f.untilNextBeat(ctx, due, &p)
		if now := time.Now(); now.Before(due) {
			due = now // it was asked for
		}
		if err == nil {
			err = f.announce(ctx, busy)
		}
		if err != nil {
			f.end(err)
			return
		}
	}
	f.end(context.Cause(ctx))
}

// nextBeat is when the next heartbeat is due, from when the last one was.
func (f *feed) nextBeat(last time.Time) time.Time {
	f.mu.Lock()
	next := last.Add(f.o.Heartbeat / time.Duration(f.partsLocked()))
	f.mu.Unlock()
	if now := time.Now(); next.Before(now) {
		return now
	}
	return next
}

// partsLocked is over how many heartbeats the followers are spread.
func (f *feed) partsLocked() uint64 {
	return min(1+uint64(len(f.live))/beatGroup, maxBeatParts)
}

// untilNextBeat encodes what the log has until a heartbeat is due or asked for. Busy: there
// was something.
func (f *feed) untilNextBeat(ctx context.Context, at time.Time, p *packer) (busy bool, err error) {
	unhurried, cancel := context.WithCancel(ctx)
	defer cancel()
	f.hurriedBy(cancel)
	defer f.hurriedBy(nil)
	due, stop := context.WithDeadline(unhurried, at)
	defer stop()
	for due.Err() == nil {
		if !f.untold {
			err = f.read(due, p)
		}
		switch {
		case err == nil:
		case due.Err() != nil && errors.Is(err, due.Err()):
			if !busy {
				p.release()
				f.forget()
			}
			return busy, nil
		default:
			return busy, err
		}
		busy = true
		if f.beatAsked() {
			return busy, nil // it goes with the records
		}
		// A heartbeat that is due waits for the end of the round: without its rests a round is a burst.
		if f.untold, err = f.round(unhurried, f.takeParked(), func() (bool, error) { return f.look(unhurried, p) }); err != nil {
			return busy, err
		}
		if f.beatAsked() {
			return busy, nil // for what was read meanwhile
		}
	}
	return busy, nil
}

// look reads what the log has by now, if anything.
func (f *feed) look(ctx context.Context, p *packer) (found bool, err error) {
	if f.log.Status().CommitLSN < f.next {
		return false, nil
	}
	return true, f.read(ctx, p)
}

// ask has a heartbeat made for everybody as soon as the feed has the record, behind which
// followers acknowledge it.
func (f *feed) ask(lsn uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = max(f.asked, lsn)
	if f.hurry != nil && f.beatAskedLocked() {
		f.hurry()
	}
}

// hurriedBy says how asking ends the wait for the log, and the rests of a round.
func (f *feed) hurriedBy(cancel func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hurry = cancel
	if cancel != nil && f.beatAskedLocked() {
		cancel()
	}
}

func (f *feed) beatAsked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.beatAskedLocked()
}

// beatAskedLocked: a record that somebody waits for is in the feed, with no heartbeat
// for everybody behind it.
func (f *feed) beatAskedLocked() bool { return f.told < f.asked && f.asked < f.next }

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

// round tells followers of what is new. Those who are still sending find it
// themselves: nobody waits for them. look is asked now and then whether there is more, unless
// it is nil.
func (f *feed) round(ctx context.Context, parked []*cursor, look func() (more bool, err error)) (more bool, err error) {
	apart := min(turn, longestRound/time.Duration(max(1, len(parked))))
	began := time.Now()
	for i, c := range parked {
		signal(c.wake)
		runtime.Gosched() // it, and whoever else can run, goes first
		told := i + 1
		if rest := time.Until(began.Add(time.Duration(told) * apart)); rest >= minRest {
			pause(ctx, rest)
		}
		if told%lookAfter == 0 && look != nil {
			found, err := look()
			if err != nil {
				return false, err
			}
			more = more || found
		}
	}
	return more, nil
}

// takeParked are those who wait for something new, and don't any more.
func (f *feed) takeParked() []*cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	parked := f.parked
	f.parked = nil
	return parked
}

// takeDue are those of them who are to be sent the newest heartbeat.
func (f *feed) takeDue() (due []*cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parked = slices.DeleteFunc(f.parked, func(c *cursor) bool {
		if !c.beatDueLocked() {
			return false
		}
		due = append(due, c)
		return true
	})
	return due
}

// beatDueLocked: since the follower's last heartbeat there was one for everybody, or for its
// part of the followers: heartbeat n is for those with n + phase = 0 modulo the number of parts.
func (c *cursor) beatDueLocked() bool {
	f, parts := c.feed, c.feed.partsLocked()
	return c.all < f.forAll || (f.beats+c.phase)/parts > (c.beats+c.phase)/parts
}

// add appends a batch to the ring and drops what is too much.
func (f *feed) add(b batch) error {
	shared := newSharedBatch(b, &f.encoder)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring = append(f.ring, shared)
	f.bytes += b.size
	f.next = b.ends().next
	for f.bytes > feedBytes && len(f.ring) > 1 {
		f.dropLocked()
	}
	return nil
}

func (f *feed) dropLocked() {
	oldest := f.ring[0]
	f.ring[0] = nil
	f.ring = f.ring[1:]
	f.start++
	f.bytes -= oldest.size
	oldest.free()
}

// forget drops the batches that every live follower has.
func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	least := f.endLocked()
	for c := range f.live {
		least = min(least, c.batch)
	}
	for f.start < least {
		f.dropLocked()
	}
	if len(f.ring) == 0 {
		f.ring = nil
	}
}

// endLocked is the number that the next batch will have.
func (f *feed) endLocked() uint64 { return f.start + uint64(len(f.ring)) }

// announce makes a heartbeat: for a part of those who have all batches, or for all where that is asked for.
// Where many are live and records keep coming, it travels with them: the next round, or else the
// next heartbeat, is near.
func (f *feed) announce(ctx context.Context, busy bool) error {
	f.mu.Lock()
	next := f.next
	f.mu.Unlock()
	m, err := proto.Marshal(f.heartbeat(f.namespace, f.log, next-1, f.mean))
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.beat, f.beats = encoded{mem.SliceBuffer(m)}, f.beats+1
	travels := (busy || f.log.Status().CommitLSN >= next) && f.partsLocked() == maxBeatParts
	if f.told < f.asked && f.asked < next {
		f.forAll, f.told, travels = f.beats, next-1, false
	}
	f.mu.Unlock()
	if travels {
		return nil
	}
	_, err = f.round(ctx, f.takeDue(), nil)
	return err
}

// end says that nothing more comes, and why.
func (f *feed) end(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	for _, c := range f.takeParked() {
		signal(c.wake)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.ring) > 0 {
		f.dropLocked()
	}
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
	c := &cursor{feed: f, wake: make(chan struct{}, 1), next: next, batch: f.endLocked(), beats: f.beats, all: f.forAll, phase: f.joined % maxBeatParts}
	if next < f.next {
		for i, b := range f.ring {
			if b.last >= next {
				c.batch = f.start + uint64(i)
				break
			}
		}
		if c.batch == f.endLocked() || !f.ring[c.batch-f.start].reachesBack(next) {
			return nil
		}
	}
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

// catch is what a follower takes from a feed at a time. Its references are the follower's.
type catch struct {
	batches []*sharedBatch
	from    uint64 // LSN of the first record that the follower lacks, maybe inside the first batch
	beat    encoded
}

func (k *catch) empty() bool { return len(k.batches) == 0 && k.beat == nil }

// take gives a follower the batches that it hasn't got, of about max bytes together
// but at least one, and the newest heartbeat if it then has all batches. An empty
// catch: the cursor's wake will have a token when there is something.
// errFellBehind, or why the feed has ended.
func (c *cursor) take(most int) (k catch, err error) {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return k, f.err
	}
	if c.batch < f.start {
		return k, errFellBehind
	}
	size := 0
	k.from = c.next
	for ; c.batch < f.endLocked(); c.batch++ {
		b := f.ring[c.batch-f.start]
		if b.last < c.next {
			continue // the follower had it before it joined
		}
		if size > 0 && size+b.size > most {
			break
		}
		k.batches = append(k.batches, b.ref())
		size += b.size
		c.next = b.ends().next
	}
	if c.batch == f.endLocked() && c.beatDueLocked() {
		k.beat, c.beats, c.all = f.beat, f.beats, f.forAll
	}
	if k.empty() {
		f.parked = append(f.parked, c)
	}
	return k, nil
}

// message is the batches and the heartbeat as one message, which the caller frees.
func (k *catch) message(zstd bool) (encoded, error) {
	msg := make(encoded, 0, len(k.batches)+2)
	for i, b := range k.batches {
		if i == 0 && k.from > b.first {
			rest, err := b.behind(k.from)
			if err != nil {
				return nil, err
			}
			msg = append(msg, rest...)
			continue
		}
		buf := b.encoding(zstd)
		buf.Ref()
		msg = append(msg, buf)
	}
	return append(msg, k.beat...), nil
}

// ends is how far a stream comes with the batches.
func (k *catch) ends(was reach) reach {
	if n := len(k.batches); n > 0 {
		return k.batches[n-1].ends()
	}
	return was
}

func (k *catch) free() {
	for _, b := range k.batches {
		b.free()
	}
}
