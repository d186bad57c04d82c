package client

import "sync"

// Session makes a series of calls see each other, on whichever nodes they
// arrive: a read sees every write of the session before it (read your writes)
// and never less than an earlier read of it saw (monotonic reads). It does so by
// carrying the highest position that an answer held, one for each namespace,
// and by asking each read for at least that one.
//
// A session holds no connection and no resources. Its positions can be taken
// out and put into another, in another process too: a web server may keep
// them in a cookie.
//
// When a position is no longer part of the namespace's history (the namespace
// was made anew, or a failover cut off writes), reads fail with
// [ErrPositionLost] until [Session.Forget] is called: what the session had seen
// is gone, and only the caller knows what that means.
type Session struct {
	mu        sync.Mutex
	positions map[string]Position
}

// NewSession makes a session that has seen nothing.
func NewSession() *Session { return &Session{positions: make(map[string]Position)} }

// Position is the highest position that the session has seen in a namespace.
func (s *Session) Position(namespace string) Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.positions[namespace]
}

// Observe tells the session of a position that was seen outside it. A position
// that doesn't follow the one that the session holds is ignored.
func (s *Session) Observe(namespace string, p Position) {
	if p.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.positions[namespace]
	if !ok || p.Follows(held) {
		s.positions[namespace] = p
	}
}

// Forget lets the session begin again in a namespace.
func (s *Session) Forget(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.positions, namespace)
}
