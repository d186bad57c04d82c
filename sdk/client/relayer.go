package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Relayer is a relayer that has joined the group of hubs.
type Relayer struct {
	ID     string            `json:"id"`
	Labels map[string]string `json:"labels"`
	// Upstream is the relayer that it is set to follow, otherwise the hub that it attends;
	// empty: neither.
	Upstream string `json:"upstream"`
	// Connected says that a hub hears of it.
	Connected bool `json:"connected"`
	// Namespaces are those that it has or is to have.
	Namespaces []NodeNamespace `json:"namespaces"`

	Hub       string `json:"hub,omitempty"` // that it attends
	Instance  string `json:"instance,omitempty"`
	Version   string `json:"version,omitempty"`
	Region    string `json:"region,omitempty"`
	Advertise string `json:"advertise,omitempty"` // where others may follow it
	Draining  bool   `json:"draining"`
}

// NodeNamespace is how a namespace does on a node, as hubs have heard of it last.
type NodeNamespace struct {
	Name string `json:"name"`
	LSN  uint64 `json:"lsn"`
	// LagRecords and LagSeconds are how far it is behind the node that it is streamed from;
	// nil: not known.
	LagRecords *uint64  `json:"lag_records"`
	LagSeconds *float64 `json:"lag_seconds"`

	Role      string `json:"role,omitempty"`  // owner, replica
	State     string `json:"state,omitempty"` // as in a node's status; empty: it has told nobody of it
	Code      string `json:"code,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Lineage   string `json:"lineage,omitempty"`
	Upstream  string `json:"upstream,omitempty"` // the node that it is streamed from
	Connected bool   `json:"connected"`          // there
	Assigned  bool   `json:"assigned,omitempty"` // by the control plane
}

// JoinToken lets relayers join that have no certificate.
type JoinToken struct {
	ID string `json:"id"`
	// Token is the secret that a relayer shows. Nobody can ask for it later.
	Token   string    `json:"token,omitempty"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"` // that are left
	// Relayer is a pattern of the ids that may use it; empty: any.
	Relayer string            `json:"relayer,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"` // that its users get
}

// NewJoinToken says what a join token is good for.
type NewJoinToken struct {
	TTL     time.Duration     // 0: the node's default
	Uses    int               // 0: one
	Relayer string            // a pattern of ids; empty: any
	Labels  map[string]string // that its users get
}

// Relayers lists the relayers that have joined.
func (c *Client) Relayers(ctx context.Context, opts ...StateOption) ([]Relayer, error) {
	var list []Relayer
	err := c.callState(ctx, "v1/relayers", &list, opts)
	return list, err
}

// Relayer asks for one of them.
func (c *Client) Relayer(ctx context.Context, id string, opts ...StateOption) (Relayer, error) {
	var r Relayer
	err := c.callState(ctx, relayerPath(id, ""), &r, opts)
	return r, err
}

// DrainRelayer has no other relayer get its namespaces from this one any more; undo takes
// that back. It keeps what it has.
func (c *Client) DrainRelayer(ctx context.Context, id string, undo bool) (Relayer, error) {
	var r Relayer
	err := c.changeState(ctx, http.MethodPost, relayerPath(id, "/drain"), struct {
		Undo bool `json:"undo,omitempty"`
	}{undo}, &r)
	return r, err
}

// RemoveRelayer forgets a relayer and its credential. One that is connected, or owns
// namespaces, is refused unless force is set.
func (c *Client) RemoveRelayer(ctx context.Context, id string, force bool) error {
	r := c.system(relayerPath(id, ""))
	r.method = http.MethodDelete
	if force {
		r.query.Set("force", strconv.FormatBool(force))
	}
	_, err := c.call(ctx, r, nil)
	return err
}

// CreateJoinToken makes a token and answers it with its secret.
func (c *Client) CreateJoinToken(ctx context.Context, o NewJoinToken) (JoinToken, error) {
	in := struct {
		TTL     string            `json:"ttl,omitempty"`
		Uses    int               `json:"uses,omitempty"`
		Relayer string            `json:"relayer,omitempty"`
		Labels  map[string]string `json:"labels,omitempty"`
	}{Uses: o.Uses, Relayer: o.Relayer, Labels: o.Labels}
	if o.TTL != 0 {
		in.TTL = o.TTL.String()
	}
	var t JoinToken
	err := c.changeState(ctx, http.MethodPost, "v1/relayers/tokens", in, &t)
	return t, err
}

// JoinTokens lists the tokens that can still be used, without their secrets.
func (c *Client) JoinTokens(ctx context.Context, opts ...StateOption) ([]JoinToken, error) {
	var list []JoinToken
	err := c.callState(ctx, "v1/relayers/tokens", &list, opts)
	return list, err
}

// RevokeJoinToken makes a token useless. Relayers that have joined by it stay.
func (c *Client) RevokeJoinToken(ctx context.Context, id string) error {
	return c.changeState(ctx, http.MethodDelete, "v1/relayers/tokens/"+escape([]byte(id)), nil, nil)
}

func relayerPath(id, action string) string {
	return "v1/relayers/" + escape([]byte(id)) + action
}
