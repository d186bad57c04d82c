package notifier

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// operations are the words for what comes over the wire.
var operations = map[pluginv1.Operation]Operation{
	pluginv1.Operation_OPERATION_PUT:        Put,
	pluginv1.Operation_OPERATION_DELETE:     Delete,
	pluginv1.Operation_OPERATION_DELETE_ROW: DeleteRow,
	pluginv1.Operation_OPERATION_EXPIRE:     Expire,
	pluginv1.Operation_OPERATION_RESET:      Reset,
}

// operationOf names an operation. One of a later version has a name that no
// plugin knows, so that it isn't taken for another.
func operationOf(o pluginv1.Operation) Operation {
	if name, ok := operations[o]; ok {
		return name
	}
	return Operation(fmt.Sprintf("operation_%d", o))
}

// BatchOf reads a batch from the wire. It shares the request's memory.
func BatchOf(r *pluginv1.NotifyRequest) Batch {
	b := Batch{Namespace: r.GetNamespace(), Lineage: r.GetLineage(), Events: make([]Event, len(r.GetEvents()))}
	for i, e := range r.GetEvents() {
		b.Events[i] = eventOf(e)
	}
	return b
}

func eventOf(e *pluginv1.Event) Event {
	return Event{
		Key: e.GetKey(), Operation: operationOf(e.GetOperation()), EntryType: e.GetEntryType(),
		LSN: e.GetLsn(), Epoch: e.GetEpoch(), Index: int(e.GetIndex()), Count: int(e.GetCount()),
		Time: time.Unix(0, e.GetTimeUnixNano()).UTC(), Columns: e.GetColumns(),
	}
}

// encode writes a result for the wire. events is how many the batch had. A
// result that contradicts itself is an error, which has the batch come again.
func (r Result) encode(events int) (*pluginv1.NotifyResponse, error) {
	rejected := slices.SortedStableFunc(slices.Values(r.Rejected), func(a, b Rejection) int { return a.Event - b.Event })
	answer := &pluginv1.NotifyResponse{}
	for i, j := range rejected {
		switch {
		case j.Event < 0 || j.Event >= events:
			return nil, status.Errorf(codes.Internal, "the notifier rejected event %d of a batch of %d: a mistake in the plugin", j.Event, events)
		case i > 0 && rejected[i-1].Event == j.Event:
			return nil, status.Errorf(codes.Internal, "the notifier rejected event %d twice: a mistake in the plugin", j.Event)
		case j.Cause < Unavailable || j.Cause > Blocked:
			return nil, status.Errorf(codes.Internal, "the notifier rejected event %d without a cause: a mistake in the plugin", j.Event)
		}
		answer.Rejected = append(answer.Rejected, &pluginv1.Rejection{
			Event: uint32(j.Event), Cause: pluginv1.Rejection_Cause(j.Cause), Reason: j.Reason,
		})
	}
	if r.RetryAfter > 0 {
		answer.RetryAfter = durationpb.New(r.RetryAfter)
	}
	return answer, nil
}
