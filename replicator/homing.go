package replicator

import (
	"context"
	"time"

	"google.golang.org/grpc/connectivity"
)

// Waits before a stream of a later address looks whether an earlier one is back. The
// order of addresses is the user's, and streams that never went back would leave all
// followers at the last node that stayed up.
const (
	homeFirst = 30 * time.Second
	homeMax   = 16 * time.Minute
	// homePatience is how long a look waits for a connection.
	homePatience = 5 * time.Second
)

// homing decides when to look for an earlier address.
type homing struct {
	wait time.Duration
	rand func() float64
}

// after is the wait of the next stream, with jitter: a hub that comes back isn't met by
// all its followers at once.
func (h *homing) after() time.Duration {
	return h.wait/2 + time.Duration(h.rand()*float64(h.wait/2))
}

// left notes how a stream went. One of the first address that brought nothing was perhaps
// a return in vain: the next look comes later.
func (h *homing) left(address int, progress bool) {
	switch {
	case address == 0 && progress:
		h.wait = homeFirst
	case address == 0:
		h.wait = min(2*h.wait, homeMax)
	}
}

// reachable ends a stream because an earlier address can be reached.
type reachable struct{ address int }

// Error implements error.
func (r *reachable) Error() string { return "an earlier address can be reached again" }

// lookHome ends a stream of address i once an earlier one can be connected to. It
// returns when ctx ends.
func (u *Upstream) lookHome(ctx context.Context, cancel context.CancelCauseFunc, i int, after time.Duration) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		for j := range i {
			if u.connects(ctx, j) {
				cancel(&reachable{j})
				return
			}
		}
		timer.Reset(after)
	}
}

// connects reports whether an address can be connected to, within a moment.
func (u *Upstream) connects(ctx context.Context, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, homePatience)
	defer cancel()
	conn := u.conns[i]
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return true
		case connectivity.Shutdown:
			return false
		case connectivity.Idle:
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}
