package control

import (
	"slices"
	"time"
)

// Waits between attempts to attend. They have jitter, so that the relayers of a hub
// that restarts don't come back all at once.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 10 * time.Second
	// backoffHelpless is for refusals that somebody must do something about.
	backoffHelpless = 30 * time.Second
	// failoverPause stands before the next address, when another one has failed.
	failoverPause = 50 * time.Millisecond
)

// rota decides which hub to try, and when: all addresses in order, at once, with a
// longer wait after each round in vain.
type rota struct {
	configured []string
	learned    []string // further ones, of which hubs have told
	rand       func() float64

	at      int  // index of the address to try
	failed  int  // attempts in this round
	rounds  int  // in vain since the last session
	hopeful bool // one of this round may succeed by itself
}

// learn takes the addresses that the group names now.
func (r *rota) learn(hubs []string) {
	current := r.address()
	r.learned = slices.DeleteFunc(slices.Clone(hubs), func(h string) bool { return slices.Contains(r.configured, h) })
	r.at = max(0, slices.Index(r.all(), current))
}

func (r *rota) all() []string { return slices.Concat(r.configured, r.learned) }

// address is the one whose turn it is.
func (r *rota) address() string {
	all := r.all()
	return all[r.at%len(all)]
}

// next moves on after an attempt and says how long to wait. attended: the hub had let
// the relayer in. retryable: trying again may help by itself.
func (r *rota) next(attended, retryable bool) time.Duration {
	n := len(r.all())
	r.at = (r.at + 1) % n
	if attended {
		r.failed, r.rounds, r.hopeful = 0, 0, false
	}
	r.failed++
	r.hopeful = r.hopeful || retryable
	if r.failed < n {
		return r.jitter(failoverPause)
	}
	helpless := !r.hopeful
	r.failed, r.hopeful = 0, false
	if helpless {
		return r.jitter(backoffHelpless)
	}
	wait := min(backoffFirst<<min(r.rounds, 10), backoffMax)
	r.rounds++
	return r.jitter(wait)
}

// jitter spreads d over [d/2, d).
func (r *rota) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(r.rand()*float64(d/2))
}
