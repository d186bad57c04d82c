package topology

import "context"

// turn is a mutex that nobody waits for longer than a context allows: it is held
// while other hubs are waited for.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits until it is this one's turn. The error is ctx's.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// give ends what take began.
func (t turn) give() { <-t }
