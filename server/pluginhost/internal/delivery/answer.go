package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// errBadAnswer: an answer breaks the contract, so nothing of it counts.
var errBadAnswer = errors.New("the plugin's answer breaks the contract")

// answer is what became of a batch.
type answer struct {
	rejected map[int]*pluginv1.Rejection // by the event's place in the batch
	accepted int
	wait     time.Duration // how long the other side asks to be left alone
}

// judge reads the plugin's answer to a batch. errBadAnswer where it names events that
// weren't sent or doesn't name them in rising order, and where it accepted an event
// though an earlier one of its key comes again: its order would be broken. Behind an event that is
// invalid, which doesn't come again, others may be accepted.
func judge(events []*pluginv1.Event, r *pluginv1.NotifyResponse) (answer, error) {
	a := answer{accepted: len(events) - len(r.GetRejected()), wait: min(max(r.GetRetryAfter().AsDuration(), 0), maxWait)}
	if len(r.GetRejected()) == 0 {
		return a, nil
	}
	a.rejected = make(map[int]*pluginv1.Rejection, len(r.Rejected))
	last := -1
	for _, rejection := range r.Rejected {
		i := int(rejection.GetEvent())
		switch {
		case i >= len(events):
			return answer{}, fmt.Errorf("%w: it rejects event %d of %d", errBadAnswer, i, len(events))
		case i <= last:
			return answer{}, fmt.Errorf("%w: it rejects event %d behind event %d", errBadAnswer, i, last)
		}
		a.rejected[i], last = rejection, i
	}
	return a, a.keepsOrder(events)
}

func (a answer) keepsOrder(events []*pluginv1.Event) error {
	var coming entities // keys of which an event comes again
	for i, e := range events {
		switch rejection := a.rejected[i]; {
		case rejection == nil:
			if coming.has(e) {
				return fmt.Errorf("%w: it accepts event %d and not an earlier one of the same key", errBadAnswer, i)
			}
		case rejection.GetCause() != pluginv1.Rejection_CAUSE_INVALID:
			coming.add(e)
		}
	}
	return nil
}

// stalled reports whether events have to come again that nobody judged, and why: then
// all wait. An answer that only blocks is one of those.
func (a answer) stalled() (reason string, stalled bool) {
	judged := a.accepted > 0
	for _, r := range a.rejected {
		switch r.GetCause() {
		case pluginv1.Rejection_CAUSE_REFUSED, pluginv1.Rejection_CAUSE_INVALID:
			judged = true
		case pluginv1.Rejection_CAUSE_BLOCKED:
		default:
			return cmp.Or(r.GetReason(), "the other side can't be reached"), true
		}
	}
	return "the other side took nothing", !judged
}
