package replicator

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
)

// damagedLog is a replica whose log is damaged, and what becomes of healing it.
type damagedLog struct {
	Log
	healing error
	healed  bool
}

func (l *damagedLog) Status() dbkernel.Status {
	return dbkernel.Status{Name: "x", Lineage: dbkernel.Lineage{1}, State: dbkernel.StateServing}
}

func (l *damagedLog) Integrity() (i dbkernel.Integrity) {
	if !l.healed {
		i.LogDamaged, i.LogDamagedLSN = true, 7
	}
	return i
}

func (l *damagedLog) HealLog(context.Context) error {
	l.healed = l.healing == nil
	return l.healing
}

// TestDamagedLogIsHealed: a damaged log is healed before a stream and beside one. Only where
// that can't be done is the namespace copied anew, not where it can't be done yet.
func TestDamagedLogIsHealed(t *testing.T) {
	for name, c := range map[string]struct {
		healing error
		copied  bool
	}{
		"healed":        {nil, false},
		"not committed": {dbkernel.ErrNotCaughtUp, false},
		"disk full":     {fmt.Errorf("flush: %w", dbkernel.ErrDiskFull), false},
		"closing":       {dbkernel.ErrClosed, false},
		"frozen":        {dbkernel.ErrFrozen, true},
		"anything else": {errors.New("a test"), true},
	} {
		t.Run(name, func(t *testing.T) {
			log := &damagedLog{healing: c.healing}
			wanted, extend, err := copyOf(t.Context(), log, dbkernel.Lineage{})
			if err != nil || extend == c.copied || wanted != log.Status().Lineage {
				t.Errorf("before a stream: extend %v, lineage %s, %v", extend, wanted, err)
			}
			log = &damagedLog{healing: c.healing}
			r := &reception{Sink: &Sink{}, plan: plan{log: log}}
			for range 2 { // the second heartbeat comes when the first one's healing is over
				err = r.heal(t.Context())
				r.wg.Wait()
			}
			if errors.Is(err, errNextStream) != c.copied || err != nil && !c.copied {
				t.Errorf("beside a stream: %v", err)
			}
			if log.healed != (c.healing == nil) {
				t.Error("it isn't healed")
			}
		})
	}
	t.Run("the stream ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r := healLog(ctx, &damagedLog{healing: context.Canceled}); r != nil {
			t.Errorf("what ended says nothing of the log: %v", r)
		}
	})
}
