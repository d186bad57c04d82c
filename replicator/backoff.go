package replicator

import "time"

// Waits between attempts to follow. They have jitter, so that the followers of a
// hub that restarts don't come back all at once.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 10 * time.Second
	// backoffHelpless is for refusals that somebody must do something about.
	backoffHelpless = 30 * time.Second
	// failoverPause stands before the next address, when another one has failed.
	failoverPause = 50 * time.Millisecond
)

// backoff decides when and at which of n addresses to try again. It goes
// through the addresses in order, at once, and waits longer after each round in vain.
type backoff struct {
	n    int
	rand func() float64 // in [0, 1)

	address int // index of the address to try
	failed  int // attempts since the last progress
	hopeful bool
}

// next moves on after an attempt and says how long to wait. progress: the
// stream was worth something. retryable: trying again may help by itself.
func (b *backoff) next(progress, retryable bool) time.Duration {
	if progress {
		b.failed, b.hopeful = 0, false
	}
	b.failed++
	b.hopeful = b.hopeful || retryable
	b.address = (b.address + 1) % b.n
	if b.n > 1 && b.failed%b.n != 0 {
		return b.jitter(failoverPause)
	}
	helpless := !b.hopeful
	b.hopeful = false
	if helpless {
		return b.jitter(backoffHelpless)
	}
	wait := backoffFirst
	for round := 1; round < b.failed/b.n && wait < backoffMax; round++ {
		wait *= 2
	}
	return b.jitter(min(wait, backoffMax))
}

// jitter spreads d over [d/2, d).
func (b *backoff) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(b.rand()*float64(d/2))
}
