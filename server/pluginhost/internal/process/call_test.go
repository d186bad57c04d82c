package process

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// overdue is a context whose deadline has passed, and whose timer fires only when
// somebody waits for it.
type overdue struct {
	context.Context
	fire context.CancelCauseFunc
}

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func (o overdue) Done() <-chan struct{} {
	o.fire(errTooLong)
	return o.Context.Done()
}

// TestTheOtherEndNoticesTheDeadlineFirst: a call that took too long is a hang, whether
// this end's timer or the reset of the stream comes first.
func TestTheOtherEndNoticesTheDeadlineFirst(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	i := &instance{child: newChild(nil)}
	err := i.outcome(overdue{ctx, cancel}, status.Error(codes.DeadlineExceeded, "stream terminated"), "a batch", time.Second)
	if !errors.Is(err, ErrHung) || i.succeeded.Load() || !i.hung.Load() {
		t.Errorf("error %v, hung %v", err, i.hung.Load())
	}
	if i.child.why() == "" {
		t.Error("the process isn't killed")
	}
}
