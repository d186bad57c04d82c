package replicator

import (
	"context"
	"net"
	"sync"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// A stream that is silent for this many heartbeats is made anew: soon where
// another address can be tried, and later where the source dialled, because how much its
// connection carries isn't known here.
const (
	silentBeats         = 3
	silentBeatsAccepted = 8
)

// minSilence is the least time of silence, however often a source says that it speaks.
const minSilence = time.Second

// aliveBytes is what a connection must have received in the time of silence
// for a stream of it to count as delayed and not as dead: with heartbeats of half a second
// a link of 11 KiB/s does that.
const aliveBytes = 16 << 10

// longestSilence ends a stream whatever its connection carries for others.
const longestSilence = 5 * time.Minute

// beatFraming is what gRPC and HTTP/2 add to a heartbeat.
const beatFraming = 5 + 9

// silenceLimit is how long a source may say nothing that promised such heartbeats.
func silenceLimit(heartbeat time.Duration, l link) time.Duration {
	beats := time.Duration(silentBeats)
	if l.meter == nil {
		beats = silentBeatsAccepted
	}
	return max(beats*heartbeat, minSilence)
}

// meter counts the bytes that the connections to one address receive, and can
// close them.
type meter struct {
	mu       sync.Mutex
	conns    map[*meteredConn]struct{}
	received traffic
}

// traffic is what connections have received: bytes, and how many of them were
// heartbeats, which say that somebody lives and not that a link is busy.
type traffic struct{ bytes, beats int64 }

// dialler counts what the connections receive that dial makes.
func (m *meter) dialler(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		c := &meteredConn{conn, m}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.conns == nil {
			m.conns = make(map[*meteredConn]struct{})
		}
		m.conns[c] = struct{}{}
		return c, nil
	}
}

// traffic is what was received so far; nothing where the connection isn't known.
func (m *meter) traffic() traffic {
	if m == nil {
		return traffic{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.received
}

func (m *meter) add(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received.bytes += int64(bytes)
}

// beat says that so many bytes of what was received were a heartbeat, so that
// idle streams don't hide one that hangs.
func (m *meter) beat(bytes int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received.beats += int64(bytes + beatFraming)
}

// drop closes the connections. Attempts that are to come make new ones.
func (m *meter) drop() {
	if m == nil {
		return
	}
	m.mu.Lock()
	var conns []*meteredConn
	for c := range m.conns {
		conns = append(conns, c)
	}
	m.mu.Unlock()
	for _, c := range conns {
		// What is wrong with a connection that is given up helps nobody.
		_ = c.Close()
	}
}

type meteredConn struct {
	net.Conn
	meter *meter
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.add(n)
	return n, err
}

func (c *meteredConn) Close() error {
	c.meter.mu.Lock()
	delete(c.meter.conns, c)
	c.meter.mu.Unlock()
	return c.Conn.Close()
}

// silence watches a stream for messages that don't come. A link that is slow, or
// shared by many streams, may need longer for one message than a source may be silent;
// so a stream is given up only when its connection has carried next to nothing, either.
// A connection that has carried nothing at all is dead with all its streams.
type silence struct {
	meter *meter // of the connection; nil: not known
	cut   func(limit time.Duration)

	mu      sync.Mutex
	timer   *time.Timer
	limit   time.Duration
	heard   time.Time // the last message
	began   time.Time // of the time that runs
	seen    traffic   // then
	paused  bool
	expired bool
}

// watchSilence begins to watch; cut is called at most once.
func watchSilence(limit time.Duration, l link, cut func(limit time.Duration)) *silence {
	s := &silence{meter: l.meter, cut: cut, limit: limit, heard: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began, s.seen = s.heard, s.meter.traffic()
	s.timer = time.AfterFunc(limit, s.check)
	return s
}

// check ends a time of silence. A message may have come between the timer and
// this call: then another time runs already, and its timer will call again.
func (s *silence) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused || s.expired || time.Since(s.began) < s.limit {
		return
	}
	carried := s.meter.traffic()
	bytes, beats := carried.bytes-s.seen.bytes, carried.beats-s.seen.beats
	if bytes-beats >= aliveBytes && time.Since(s.heard) < longestSilence {
		s.beginLocked()
		return
	}
	s.expired = true
	s.cut(time.Since(s.heard).Round(10 * time.Millisecond))
	if bytes == 0 {
		s.meter.drop()
	}
}

// pause stops the clock while this end doesn't listen. False: it was too late.
func (s *silence) pause() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = true
	s.timer.Stop()
	return !s.expired
}

// resume starts the clock anew.
func (s *silence) resume(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused, s.limit, s.heard = false, limit, time.Now()
	s.beginLocked()
}

func (s *silence) beginLocked() {
	s.began, s.seen = time.Now(), s.meter.traffic()
	s.timer.Reset(s.limit)
}

// stuckAfter is how long a source may say that it has records and send none. It is
// far longer than one batch takes, however slow a follower's share is made.
const stuckAfter = 30 * time.Second

// stall finds a source that goes on talking and doesn't send what it says it has.
type stall struct {
	since time.Time // the first heartbeat that promised what hasn't come; zero: none has
}

// note takes a message, after which this end has records up to received, and
// says whether the source is stuck. Time in which this end doesn't listen doesn't count,
// since it is only records that make it wait.
func (s *stall) note(m *dbv1.SourceMessage, received uint64, now time.Time) error {
	h := m.GetHeartbeat()
	switch {
	case h == nil || h.GetCommitLsn() <= received:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = now
	case now.Sub(s.since) > stuckAfter:
		return refuseForNow(CodeUnavailable, "the source has said for %v that it has records up to LSN %d, and sent none behind %d: the stream is made anew",
			now.Sub(s.since).Round(time.Second), h.GetCommitLsn(), received)
	}
	return nil
}

// noteCopy is note for a stream that brings a snapshot: one that brings nothing of
// it for so long never ends it, either.
func (s *stall) noteCopy(m *dbv1.SourceMessage, now time.Time) error {
	switch {
	case m.GetHeartbeat() == nil:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = now
	case now.Sub(s.since) > stuckAfter:
		return refuseForNow(CodeUnavailable, "the source has sent nothing of the snapshot for %v and not ended it: the stream is made anew",
			now.Sub(s.since).Round(time.Second))
	}
	return nil
}
