package replicator

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// stoppedLog is a log that takes nothing any more.
type stoppedLog struct {
	Log
	status    dbkernel.Status
	integrity dbkernel.Integrity
}

func (l stoppedLog) Status() dbkernel.Status       { return l.status }
func (l stoppedLog) Integrity() dbkernel.Integrity { return l.integrity }
func (l stoppedLog) SetCommit(uint64)              {}

func (l stoppedLog) Append(context.Context, [][]byte, uint64) error {
	return fmt.Errorf("%w: %w: a test", dbkernel.ErrFrozen, dbkernel.ErrDamaged)
}

// TestDamageUnderTheStream: a namespace that stops under a stream because its B+tree is damaged is
// copied anew by the next one, at once, whether records or a heartbeat come first. A disk that
// fails is for somebody to see to; the stage of a copy is opened anew without anybody's doing.
func TestDamageUnderTheStream(t *testing.T) {
	damaged := stoppedLog{
		status:    dbkernel.Status{Name: "x", Lineage: dbkernel.Lineage{1}, State: dbkernel.StateQuarantined, Code: CodeDamaged, Reason: "a test"},
		integrity: dbkernel.Integrity{TreeDamage: "a test"},
	}
	frozen := stoppedLog{status: dbkernel.Status{Name: "x", Lineage: dbkernel.Lineage{1}, State: dbkernel.StateFrozen, Code: CodeFrozen}}
	records, beat := intake{records: [][]byte{{1}}, last: 1}, intake{beat: true}
	const copied, retried, helpless = "a new copy at once", "tried again", "for somebody to see to"
	for name, c := range map[string]struct {
		log    stoppedLog
		staged bool
		item   intake
		want   string
	}{
		"damaged, records":     {damaged, false, records, copied},
		"damaged, a heartbeat": {damaged, false, beat, copied},
		"frozen, records":      {frozen, false, records, helpless},
		"stage, records":       {damaged, true, records, retried},
		"stage, a heartbeat":   {damaged, true, beat, retried},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reception{Sink: &Sink{o: SinkOptions{Namespace: "x", Clock: time.Now}}, plan: plan{log: c.log}}
			if c.staged {
				r.stage = struct{ Stage }{}
			}
			err := r.process(t.Context(), c.item)
			got := helpless
			switch {
			case errors.Is(err, errNextStream) && r.progressed(err):
				got = copied
			case asRefusal(err).Retryable:
				got = retried
			}
			if err == nil || got != c.want {
				t.Errorf("it is %s, expected %s: %v", got, c.want, err)
			}
		})
	}
}
