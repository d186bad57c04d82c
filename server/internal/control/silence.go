package control

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// hubPatience is for a hub that says nothing, which promised a heartbeat a second.
	hubPatience = 10 * time.Second
	// trickle is what the connection of a hub brings in that time, in bytes, that is in the middle of
	// a message: a large assignment may take longer on a slow link. Mere signs of life
	// of the connection are fewer.
	trickle = 4 << 10
)

// counted counts the bytes that come.
type counted struct {
	net.Conn
	came *atomic.Int64
}

// Read implements net.Conn.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.came.Add(int64(n))
	return n, err
}

// silence calls cut when a relayer waits for a message and none comes. The time that
// the relayer itself takes over one doesn't count.
type silence struct {
	came *atomic.Int64
	cut  func()

	mu      sync.Mutex
	timer   *time.Timer
	waiting bool
	due     time.Time
	seen    int64
}

func watchSilence(came *atomic.Int64, cut func()) *silence {
	s := &silence{came: came, cut: cut}
	s.timer = time.AfterFunc(hubPatience, s.check)
	s.timer.Stop()
	return s
}

// wait begins to wait for a message.
func (s *silence) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = true
	s.armLocked()
}

func (s *silence) armLocked() {
	s.seen, s.due = s.came.Load(), time.Now().Add(hubPatience)
	s.timer.Reset(hubPatience)
}

// pause ends that.
func (s *silence) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = false
	s.timer.Stop()
}

// check ends a time of waiting. The timer may have fired just before wait or pause.
func (s *silence) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.waiting || time.Now().Before(s.due):
	case s.came.Load()-s.seen >= trickle:
		s.armLocked()
	default:
		s.cut()
	}
}
