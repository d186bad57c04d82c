package replicator

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// aliveBytes is what a connection must have received in the time of silence
// for a stream of it to count as delayed and not as dead. It is as much as one
// message may be long, and far more than heartbeats of other streams come to.
const aliveBytes = sinkPartBytes

// meter counts the bytes that the connections to one address have received.
type meter struct{ bytes atomic.Uint64 }

// dialler counts what the connections receive that dial makes.
func (m *meter) dialler(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		c, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return meteredConn{c, m}, nil
	}
}

type meteredConn struct {
	net.Conn
	meter *meter
}

func (c meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.bytes.Add(uint64(n))
	return n, err
}

// silence watches a stream for messages that don't come. A link that is slow, or
// shared by many streams, may need longer for one message than a source may be silent;
// so a stream is given up only when its connection has carried next to nothing, either.
type silence struct {
	traffic func() uint64 // bytes that the connection has received; nil: not known
	cut     func(limit time.Duration)

	mu      sync.Mutex
	timer   *time.Timer
	limit   time.Duration
	began   time.Time // of the time that runs
	seen    uint64    // traffic then
	paused  bool
	expired bool
}

// watchSilence begins to watch; cut is called at most once.
func watchSilence(limit time.Duration, traffic func() uint64, cut func(limit time.Duration)) *silence {
	if traffic == nil {
		traffic = func() uint64 { return 0 }
	}
	s := &silence{traffic: traffic, cut: cut, began: time.Now(), limit: limit, seen: traffic()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(limit, s.check)
	return s
}

// check ends a time of silence. A message may have come between the timer and
// this call: then another time runs already, and its timer will call again.
func (s *silence) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.paused || s.expired || time.Since(s.began) < s.limit:
	case s.traffic()-s.seen >= aliveBytes:
		s.beginLocked()
	default:
		s.expired = true
		s.cut(s.limit)
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
	s.paused, s.limit = false, limit
	s.beginLocked()
}

func (s *silence) beginLocked() {
	s.began, s.seen = time.Now(), s.traffic()
	s.timer.Reset(s.limit)
}
