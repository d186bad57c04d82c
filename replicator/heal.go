package replicator

import (
	"context"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel"
)

// healLog has a log that is known to be damaged begin behind the damage, for which
// nothing must be sent. It says why that can't be done, so that a new copy is needed;
// nil: the log is sound, or it is for a later try, and records can be appended meanwhile.
func healLog(ctx context.Context, own Log) *Refusal {
	i := own.Integrity()
	if !i.LogDamaged {
		return nil
	}
	if err := own.HealLog(ctx); err != nil && ctx.Err() == nil && !healsLater(err) {
		return refuseForNow(CodeDamaged, "the log is damaged at LSN %d and can't begin behind that: %v", i.LogDamagedLSN, err).because(err)
	}
	return nil
}

// healsLater tells errors that say nothing of the log.
func healsLater(err error) bool {
	for _, passing := range []error{dbkernel.ErrNotCaughtUp, dbkernel.ErrDiskFull, dbkernel.ErrSuperseded, dbkernel.ErrClosed} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// heal heals the log beside the stream, which goes on: the B+tree may have to be brought
// up first. Where that has failed the stream ends, for a new copy.
func (r *reception) heal(ctx context.Context) error {
	select {
	case failed := <-r.healing:
		if r.healing = nil; failed != nil {
			return fmt.Errorf("%w: a new copy, since %w", errNextStream, failed)
		}
	default:
	}
	if r.healing != nil || !r.log.Integrity().LogDamaged {
		return nil
	}
	done, log := make(chan *Refusal, 1), r.log
	r.healing = done
	r.wg.Go(func() { done <- healLog(ctx, log) })
	return nil
}
