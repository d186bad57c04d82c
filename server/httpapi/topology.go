package httpapi

import (
	"cmp"
	"context"
	"maps"
	"slices"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/topology"
)

// topologyOut is what hubs agree on, with what they know of how it does.
type topologyOut struct {
	Cluster     string           `json:"cluster"`
	Index       uint64           `json:"index"`
	Hubs        []hubInfo        `json:"hubs"`
	Relayers    []relayerInfo    `json:"relayers"`
	Assignments []assignmentInfo `json:"assignments"`
	Namespaces  []namespaceInfo  `json:"namespaces"`
}

// assignmentInfo is an assignment, in requests as well.
type assignmentInfo struct {
	Namespace string            `json:"namespace"`
	Relayer   string            `json:"relayer,omitempty"`
	Selector  map[string]string `json:"selector,omitempty"`
}

// hubInfo is a member of the group of hubs.
type hubInfo struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	GRPC     string `json:"grpc_address"`
	Instance string `json:"instance"`
	Version  string `json:"version"`
	Region   string `json:"region"`
	Voter    bool   `json:"voter"`
	Leader   bool   `json:"leader"`
	// Connected says that it has told how its namespaces do; otherwise Problem says why not.
	Connected  bool            `json:"connected"`
	Problem    string          `json:"problem,omitempty"`
	Namespaces []nodeNamespace `json:"namespaces"`
}

// nodeNamespace is how a namespace does on a node, as hubs have heard of it last.
type nodeNamespace struct {
	Name string `json:"name"`
	LSN  uint64 `json:"lsn"`
	// LagRecords and LagSeconds are nil where they aren't known.
	LagRecords *uint64  `json:"lag_records"`
	LagSeconds *float64 `json:"lag_seconds"`
	Role       string   `json:"role,omitempty"`
	State      string   `json:"state,omitempty"` // empty: nothing was heard of it
	Code       string   `json:"code,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Lineage    string   `json:"lineage,omitempty"`
	Upstream   string   `json:"upstream,omitempty"`
	Connected  bool     `json:"connected"`
	Assigned   bool     `json:"assigned,omitempty"`
}

func outReport(r *dbv1.NamespaceReport) nodeNamespace {
	n := nodeNamespace{
		Name: r.GetName(), LSN: r.GetLsn(), Role: r.GetRole(), State: r.GetState(), Code: r.GetCode(), Reason: r.GetReason(),
		Lineage: r.GetLineage(), Upstream: r.GetUpstream(), Connected: r.GetConnected(),
	}
	if r.GetLagKnown() {
		records, seconds := r.GetLagRecords(), r.GetLagSeconds()
		n.LagRecords, n.LagSeconds = &records, &seconds
	}
	return n
}

// outReports are the namespaces that a node has told of, and those that it is to have and hasn't
// told of, by name.
func outReports(told map[string]*dbv1.NamespaceReport, expected []string) []nodeNamespace {
	out := make([]nodeNamespace, 0, len(told))
	for name, r := range told {
		n := outReport(r)
		n.Assigned = slices.Contains(expected, name)
		out = append(out, n)
	}
	for _, name := range expected {
		if told[name] == nil {
			out = append(out, nodeNamespace{Name: name, Assigned: true})
		}
	}
	slices.SortFunc(out, func(a, b nodeNamespace) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func outHub(o *control.Overview, h *topology.Hub, leader string) hubInfo {
	out := hubInfo{
		ID: h.ID, Address: h.Raft, GRPC: h.GRPC, Instance: h.Instance, Version: h.Version, Region: h.Region, Voter: h.Voter,
		Leader: h.ID == leader, Namespaces: []nodeNamespace{},
	}
	if view := o.Hubs[h.ID]; view != nil {
		out.Connected, out.Problem = view.Problem == "", view.Problem
		out.Namespaces = outReports(view.Namespaces, nil)
	}
	return out
}

// outHubs are the hubs, by id.
func (c *call) outHubs(o *control.Overview) []hubInfo {
	leader := c.api.group.Freshness().Leader
	out := make([]hubInfo, 0, len(o.State.Hubs))
	for _, id := range slices.Sorted(maps.Keys(o.State.Hubs)) {
		out = append(out, outHub(o, o.State.Hubs[id], leader))
	}
	return out
}

func (c *call) hubs() error {
	return c.withGroup(func(ctx context.Context) error {
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		return c.json(c.outHubs(o))
	})
}

func (c *call) topology() error {
	return c.withGroup(func(ctx context.Context) error {
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		return c.json(c.outTopology(o))
	})
}

func (c *call) outTopology(o *control.Overview) topologyOut {
	out := topologyOut{
		Cluster: o.State.Cluster, Index: o.State.Index,
		Hubs: c.outHubs(o), Relayers: outRelayers(o), Assignments: []assignmentInfo{}, Namespaces: []namespaceInfo{},
	}
	for _, key := range slices.Sorted(maps.Keys(o.State.Assignments)) {
		a := o.State.Assignments[key]
		out.Assignments = append(out.Assignments, assignmentInfo{a.Namespace, a.Relayer, a.Selector})
	}
	for _, name := range slices.Sorted(maps.Keys(o.State.Namespaces)) {
		out.Namespaces = append(out.Namespaces, outShared(o, o.State.Namespaces[name]))
	}
	return out
}

// changeTopology makes the change that the body asks for, and answers the topology with it: all of
// it, which of a large group is a lot. With brief=true it only says that the change was made.
func (c *call) changeTopology(in any, command func() topology.Command) error {
	return c.changeGroup(func(ctx context.Context) error {
		if err := c.readJSON(maxSmallBody, in); err != nil {
			return err
		}
		brief, err := c.flag("brief")
		if err != nil {
			return err
		}
		if err := c.propose(ctx, command()); err != nil {
			return err
		}
		if brief {
			return c.json(struct {
				Success bool `json:"success"`
			}{true})
		}
		o, err := c.afterChange(ctx)
		if err != nil {
			return err
		}
		return c.json(c.outTopology(o))
	})
}

func (c *call) assign() error {
	var in assignmentInfo
	return c.changeTopology(&in, func() topology.Command { return topology.Assign{Assignment: topology.Assignment(in)} })
}

func (c *call) unassign() error {
	var in assignmentInfo
	return c.changeTopology(&in, func() topology.Command { return topology.Unassign{Assignment: topology.Assignment(in)} })
}

func (c *call) setUpstream() error {
	var in struct {
		Relayer  string `json:"relayer"`
		Upstream string `json:"upstream"`
	}
	return c.changeTopology(&in, func() topology.Command {
		return topology.SetUpstream{Relayer: in.Relayer, Upstream: in.Upstream}
	})
}
