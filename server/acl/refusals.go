package acl

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Refusal is somebody who was sent away.
type Refusal struct {
	Remote    net.Addr
	Identity  string // as Describe says it, or what the other end claims
	Namespace string // empty: it didn't come to that
	Reason    string // what is wrong and what to do; the same words each time
}

// Refusals writes to the log who was sent away, and why. A node that is refused
// comes again and again: the same refusal is a line once a minute, with the number of
// times since.
type Refusals struct {
	log hclog.Logger
	now func() time.Time

	mu    sync.Mutex
	said  map[said]*repeats
	total uint64
}

// said is what makes a refusal the same as another.
type said struct{ host, identity, namespace, reason string }

type repeats struct {
	at    time.Time // of the line
	since int       // refusals after it
}

// Bounds of the memory for refusals, and how long the same isn't said again.
const (
	repeatAfter = time.Minute
	maxSaid     = 1024
)

// NewRefusals writes to log; now is the clock.
func NewRefusals(log hclog.Logger, now func() time.Time) *Refusals {
	return &Refusals{log: log, now: now, said: make(map[said]*repeats)}
}

// Count is how many there were, also those that aren't in the log.
func (r *Refusals) Count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// Note writes a refusal to the log, unless it was written just before.
func (r *Refusals) Note(f Refusal) {
	remote := "unknown"
	if f.Remote != nil {
		remote = f.Remote.String()
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	before, first := r.count(said{host, f.Identity, f.Namespace, f.Reason})
	if !first {
		return
	}
	args := []any{"identity", f.Identity, "remote", remote, "reason", f.Reason}
	if f.Namespace != "" {
		args = append(args, "namespace", f.Namespace)
	}
	if before > 0 {
		args = append(args, "repeated", before)
	}
	r.log.Warn("connection refused", args...)
}

// count notes a refusal: whether it is to be written, and how many of the same
// weren't since the last that was.
func (r *Refusals) count(s said) (before int, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	now := r.now()
	if e := r.said[s]; e != nil && now.Sub(e.at) < repeatAfter {
		e.since++
		return 0, false
	} else if e != nil {
		before = e.since
	}
	if len(r.said) >= maxSaid {
		clear(r.said) // strangers with ever new names cost lines, and no memory
	}
	r.said[s] = &repeats{at: now}
	return before, true
}
