package delivery

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	minWait = 100 * time.Millisecond // after a first failure
	topWait = 30 * time.Second       // after many
	maxWait = 10 * time.Minute       // that the other side may ask for
)

// backoff is how long to wait after the failures-th failure in a row: twice as
// long each time, with a quarter more or less by chance, so that those that failed together
// don't come back together; never less than what the other side asked for.
func backoff(failures int, asked time.Duration) time.Duration {
	d := min(minWait<<min(max(failures, 1)-1, 20), topWait)
	d += time.Duration((rand.Float64() - 0.5) / 2 * float64(d))
	return max(d, asked)
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
