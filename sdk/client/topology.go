package client

import (
	"context"
	"net/http"
)

// Hub is a member of the group of hubs.
type Hub struct {
	ID       string `json:"id"`
	Address  string `json:"address"`                // of Raft
	GRPC     string `json:"grpc_address,omitempty"` // empty: others can't reach it
	Instance string `json:"instance,omitempty"`     // of its data directory
	Version  string `json:"version,omitempty"`
	Region   string `json:"region,omitempty"`
	Voter    bool   `json:"voter"`
	// Leader says that the group is led by it, as far as the node that was asked knows.
	Leader bool `json:"leader"`
	// Connected says that it has told how its namespaces do: otherwise Problem says why not.
	Connected  bool            `json:"connected"`
	Problem    string          `json:"problem,omitempty"`
	Namespaces []NodeNamespace `json:"namespaces"`
}

// Assignment gives a namespace to one relayer, to those whose ids match a pattern, or to
// those that have all labels of a selector.
type Assignment struct {
	Namespace string            `json:"namespace"`
	Relayer   string            `json:"relayer,omitempty"`
	Selector  map[string]string `json:"selector,omitempty"`
}

// Topology is what the group of hubs agrees on, with what the hubs know of how it does.
type Topology struct {
	Cluster     string          `json:"cluster"` // the group's id
	Index       uint64          `json:"index"`   // of the last change
	Hubs        []Hub           `json:"hubs"`
	Relayers    []Relayer       `json:"relayers"`
	Assignments []Assignment    `json:"assignments"`
	Namespaces  []NamespaceInfo `json:"namespaces"`
}

// Hubs lists the hubs of the group.
func (c *Client) Hubs(ctx context.Context, opts ...StateOption) ([]Hub, error) {
	var list []Hub
	err := c.callState(ctx, "v1/hubs", &list, opts)
	return list, err
}

// Topology asks for all of it.
func (c *Client) Topology(ctx context.Context, opts ...StateOption) (Topology, error) {
	var t Topology
	err := c.callState(ctx, "v1/topology", &t, opts)
	return t, err
}

// Assign gives a namespace to relayers beside those that its settings name. It answers the
// topology with that.
func (c *Client) Assign(ctx context.Context, a Assignment) (Topology, error) {
	return c.changeTopology(ctx, "assign", a)
}

// Unassign takes back what Assign gave, with the same fields.
func (c *Client) Unassign(ctx context.Context, a Assignment) (Topology, error) {
	return c.changeTopology(ctx, "unassign", a)
}

// SetUpstream has a relayer get its namespaces from another relayer, where that has
// them; empty: from hubs.
func (c *Client) SetUpstream(ctx context.Context, relayer, upstream string) (Topology, error) {
	return c.changeTopology(ctx, "set-upstream", struct {
		Relayer  string `json:"relayer"`
		Upstream string `json:"upstream"`
	}{relayer, upstream})
}

func (c *Client) changeTopology(ctx context.Context, change string, in any) (Topology, error) {
	var t Topology
	err := c.changeState(ctx, http.MethodPost, "v1/topology/"+change, in, &t)
	return t, err
}
