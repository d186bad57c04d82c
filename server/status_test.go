package server

import (
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server/httpapi"
)

func TestWhyAFollowedNamespaceIsNotReady(t *testing.T) {
	fresh := httpapi.ReadyQuery{MaxLag: time.Second}
	sink := func(state string, behind time.Duration) *replicator.SinkStatus {
		s := &replicator.SinkStatus{State: state}
		s.Lag.Known, s.Lag.Behind = true, behind
		return s
	}
	for name, tt := range map[string]struct {
		err   error
		sink  *replicator.SinkStatus
		q     httpapi.ReadyQuery
		ready bool
	}{
		"nothing is there":         {err: dbkernel.ErrNamespaceNotFound},
		"it can't be opened":       {err: dbkernel.ErrDamaged, sink: sink(replicator.StateServing, 0)},
		"the first copy arrives":   {sink: sink(replicator.StateBootstrapping, 0)},
		"it serves":                {sink: sink(replicator.StateServing, time.Hour), ready: true},
		"it stalls":                {sink: sink(replicator.StateStalled, time.Hour), ready: true},
		"it is too far behind":     {sink: sink(replicator.StateServing, time.Hour), q: fresh},
		"it is near enough":        {sink: sink(replicator.StateServing, 0), q: fresh, ready: true},
		"its upstream wasn't seen": {sink: &replicator.SinkStatus{State: replicator.StateServing}, q: fresh},
	} {
		if reasons := followReasons("default", tt.err, tt.sink, tt.q); (len(reasons) == 0) != tt.ready {
			t.Errorf("%s: the reasons are %q", name, reasons)
		}
	}
}
