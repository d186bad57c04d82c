package server

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/internal/placement"
	"github.com/unisondb/unisondb/server/topology"
)

// openAttendance reads what a relayer was assigned last. It attends no hub yet.
func (n *Node) openAttendance(context.Context) error {
	if n.role != RoleRelayer {
		return nil
	}
	r := n.attendedRoute()
	a, err := control.NewAttendance(control.AttendanceOptions{
		NodeID: n.ID(), Addresses: r.addresses, Path: n.path("relayer.json"), FS: n.fs, JoinToken: n.joinToken(),
		Hello: n.hello, Report: func() []*dbv1.NamespaceReport { return n.reports(n.names.all()) }, OnAssignment: n.takeAssignment,
		CredentialsOf: func(address string) credentials.TransportCredentials { return n.dialCredentials(r, address) },
		Logger:        n.log.Named("control"),
	})
	if err != nil {
		return err
	}
	n.attending = a
	return nil
}

// startAttendance begins to attend a hub, and does meanwhile what was assigned last.
func (n *Node) startAttendance() error {
	n.onStop("the session with a hub", func(context.Context) error {
		n.attending.Close()
		return nil
	})
	if a := n.attending.Assignment(); a != nil {
		n.takeAssignment(a)
	}
	n.attending.Start()
	return nil
}

// reportPlacement has the hub hear of it when a namespace has come to this relayer, or has left.
func (n *Node) reportPlacement(ctx context.Context) {
	for {
		_, changed := n.placing.Settled()
		select {
		case <-changed:
			n.attending.ReportSoon()
		case <-ctx.Done():
			return
		}
	}
}

// attendedBlocks are the upstreams whose control plane rules a relayer: those that leave the
// namespaces to it, or else all.
func (n *Node) attendedBlocks() []config.Upstream {
	var blocks []config.Upstream
	for _, u := range n.cfg.Relayer.Upstreams {
		if u.Namespaces == nil {
			blocks = append(blocks, u)
		}
	}
	if len(blocks) == 0 {
		return n.cfg.Relayer.Upstreams
	}
	return blocks
}

// attendedRoute is where the hubs are that a relayer attends, and offers what it owns.
func (n *Node) attendedRoute() *route {
	r := &route{}
	for _, u := range n.attendedBlocks() {
		r.add(u)
	}
	return r
}

func (n *Node) joinToken() string {
	for _, u := range n.attendedBlocks() {
		if u.JoinToken != "" {
			return u.JoinToken
		}
	}
	return ""
}

// dialCredentials secure the connections of a route. A hub shows what its own listener has; a relayer shows
// the nodes that the control plane names what it shows the hubs.
func (n *Node) dialCredentials(r *route, address string) credentials.TransportCredentials {
	if n.role == RoleHub {
		if n.secrets.grpc == nil {
			return insecure.NewCredentials()
		}
		return n.secrets.grpc.ClientCredentials()
	}
	if name := r.nameOf(address); name != "" && !r.assigned {
		return n.secrets.upstreamCredentials(name)
	}
	return n.secrets.upstreamCredentials(n.attendedBlocks()[0].Name)
}

// streamCredentials say with each stream who a relayer is that has no certificate.
func (n *Node) streamCredentials() credentials.PerRPCCredentials {
	if n.attending == nil {
		return nil
	}
	return control.StreamCredentials(n.ID(), n.attending.Credential)
}

// hello is what a relayer says of itself.
func (n *Node) hello() *dbv1.RelayerHello {
	h := &dbv1.RelayerHello{
		NodeId: n.ID(), InstanceId: n.names.instanceID(), Version: n.version, Region: n.cfg.Region,
		Labels: n.cfg.Relayer.Labels, Advertise: n.advertised(),
	}
	n.names.mu.Lock()
	made := maps.Clone(n.names.id.Made)
	n.names.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(made)) {
		h.Owned = append(h.Owned, &dbv1.OwnedNamespace{Name: name, Lineage: made[name].String()})
	}
	for _, name := range n.places.names(placement.Follow) {
		if n.configuredHere(name) {
			h.Configured = append(h.Configured, name)
		}
	}
	return h
}

// takeAssignment does what a relayer is assigned.
func (n *Node) takeAssignment(a *dbv1.Assignment) {
	n.names.mu.Lock()
	placed := slices.Collect(maps.Keys(n.names.id.Placed))
	n.names.mu.Unlock()
	wanted := placement.ForRelayer(a, placed, n.configuredHere)
	if err := n.names.notePlaced(wanted, nil); err != nil {
		n.log.Error("what this relayer is to have can't be noted, so that it isn't done; it is tried again with the next change", "error", err)
		return
	}
	n.placing.Want(wanted)
	var catalog []topology.Plugin
	for _, b := range a.GetPlugins() {
		var p topology.Plugin
		if err := json.Unmarshal(b, &p); err != nil {
			n.log.Error("an entry of the catalog of plugins can't be read: it is left out", "error", err)
			continue
		}
		catalog = append(catalog, p)
	}
	n.takeCatalog(catalog)
}

// reports are how namespaces of this node do, for the control plane.
func (n *Node) reports(names []string) []*dbv1.NamespaceReport {
	sinks := n.sinksByNamespace()
	var all []*dbv1.NamespaceReport
	for _, name := range names {
		s, _ := n.essence(name, sinks[name])
		r := &dbv1.NamespaceReport{
			Name: name, Role: s.Role, State: s.State, Code: s.Code, Reason: s.Reason, Lineage: s.Lineage, Epoch: s.Epoch, Lsn: s.CommitLSN,
		}
		if sink := sinks[name]; sink != nil {
			r.Upstream, r.Connected = sink.Source, sink.Connected
			if sink.Lag.Known {
				r.LagKnown, r.LagRecords, r.LagSeconds = true, sink.Lag.Records, sink.Lag.Behind.Seconds()
			}
		}
		all = append(all, r)
	}
	return all
}

// startDesk opens a hub's end of the sessions of relayers; false: this node is none.
func (n *Node) startDesk() bool {
	if n.group == nil {
		return false
	}
	n.desk = control.NewDesk(control.DeskOptions{
		NodeID: n.ID(), Version: n.version, Group: n.group, Secure: n.secrets.grpc != nil,
		Logger: n.log.Named("control"), Refusals: n.secrets.refusals,
	})
	n.onStop("what relayers' sessions have left", func(context.Context) error { n.desk.Close(); return nil })
	return true
}

// observed is what this hub sees of what is asked for: the relayers that attend it, its
// namespaces, and as the leader how the members of its group do.
func (n *Node) observed(r *dbv1.ObserveRequest) *dbv1.ObserveResponse {
	seen := &dbv1.ObserveResponse{NodeId: n.ID(), AppliedIndex: n.group.State().Index, Members: n.group.Health()}
	if r.GetMembersOnly() {
		return seen
	}
	names, only := n.names.all(), r.GetNamespace()
	if only != "" {
		names = slices.DeleteFunc(names, func(name string) bool { return name != only })
	}
	seen.Namespaces = n.reports(names)
	if n.desk != nil {
		seen.Relayers = n.desk.Sessions()
	}
	if only == "" {
		return seen
	}
	for _, s := range seen.Relayers {
		s.Namespaces = slices.DeleteFunc(s.Namespaces, func(ns *dbv1.NamespaceReport) bool { return ns.GetName() != only })
	}
	return seen
}
