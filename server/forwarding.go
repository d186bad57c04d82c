package server

import (
	"context"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/internal/forward"
	"github.com/unisondb/unisondb/server/internal/metrics"
	"github.com/unisondb/unisondb/server/topology"
)

// startRequests prepares what answers requests, whichever door they come through: a client's,
// or that of another hub that passes one on.
func (n *Node) startRequests(context.Context) error {
	o := httpapi.Options{
		Node: n, Plugins: n.plugins, Logger: n.log.Named("http"), BackupDir: n.path("backups"),
		Observe: func(o httpapi.Observation) { n.metrics.Request(o.Route, o.Method, o.Status, o.Took) },
	}
	if n.cfg.Telemetry.Prometheus {
		o.Metrics = n.metrics.Handler()
	}
	if n.group != nil {
		n.forwarder = forward.New(forward.Options{NodeID: n.ID(), Peers: n.peers, Resolve: n.hubsFor, Hold: n.hold})
		o.Forwarder = n.forwarder
		o.Group, o.NodeID = n.group, n.ID()
		o.Viewer = control.NewViewer(control.ViewerOptions{NodeID: n.ID(), Group: n.group, Peers: n.peers,
			Observe: func(_ context.Context, r *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
				return n.observed(r), nil
			}})
	}
	n.api = httpapi.New(o)
	return nil
}

// endRequests refuses new requests of other hubs and lets those under way end, until ctx
// ends: then they are cut off. The HTTP door is closed by then.
func (n *Node) endRequests(ctx context.Context) (err error) {
	n.api.Drain()
	if n.forwarder != nil {
		err = n.forwarder.Stop(ctx)
	}
	n.api.Wait()
	return err
}

// hubsFor says which other hubs may answer requests to a namespace, the best first. It
// is a forward.Options.Resolve.
func (n *Node) hubsFor(name string, write bool) ([]forward.Target, error) {
	s, owner := n.group.State(), n.ownerOf(name)
	if owner.ID == "" && s.Cluster != "" {
		return nil, forward.ErrNamespaceNotFound
	}
	var ids []string
	if owner.Kind == topology.KindHub {
		ids = append(ids, owner.ID)
	}
	if !write {
		ids = append(ids, s.HubsOf(name)...)
	}
	var targets []forward.Target
	seen := map[string]bool{n.ID(): true}
	for _, id := range ids {
		if hub := s.Hubs[id]; hub != nil && hub.GRPC != "" && !seen[id] {
			targets = append(targets, forward.Target{ID: id, Address: hub.GRPC})
		}
		seen[id] = true
	}
	return targets, nil
}

// collectForwarding exports how requests went that were passed on to other hubs.
func (n *Node) collectForwarding(emit metrics.Emit) {
	s := n.forwarder.Stats()
	emit("unisondb_forward_waiting", float64(s.Waiting))
	for outcome, count := range map[string]uint64{"answered": s.Answered, "not_taken": s.NotTaken, "cut": s.Cut, "failed": s.Failed} {
		emit("unisondb_forwarded_requests_total", float64(count), outcome)
	}
}
