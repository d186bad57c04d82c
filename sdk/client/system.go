package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// system begins a request that belongs to the node and not to a namespace.
func (c *Client) system(path string) *request {
	return &request{method: http.MethodGet, path: path, callOptions: newCallOptions()}
}

// Health says that a node's process is alive.
type Health struct {
	Status     string   `json:"status"`
	Namespaces []string `json:"namespaces"`
}

// Health asks whether the node's process is alive.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	_, err := c.call(ctx, c.system("health"), &h)
	return h, err
}

// ReadyOptions ask for more than that a node can serve what it has.
type ReadyOptions struct {
	// MaxLag is how far a relayer may be behind; 0: any distance.
	MaxLag time.Duration
	// Leader asks a hub for a known leader of the control plane.
	Leader bool
}

// Readiness says whether a node can serve.
type Readiness struct {
	Ready   bool
	Reasons []string // of a node that isn't ready
}

// Ready asks whether the node can serve. A node that says no is no error.
func (c *Client) Ready(ctx context.Context, o ReadyOptions) (Readiness, error) {
	r := c.system("ready")
	if o.MaxLag > 0 {
		r.query.Set("max_lag", o.MaxLag.String())
	}
	if o.Leader {
		r.query.Set("leader", "true")
	}
	_, err := c.call(ctx, r, nil)
	var answer *Error
	switch {
	case err == nil:
		return Readiness{Ready: true}, nil
	case errors.As(err, &answer) && answer.Status == http.StatusServiceUnavailable:
		reasons := answer.Reasons
		if len(reasons) == 0 {
			reasons = []string{answer.Message}
		}
		return Readiness{Reasons: reasons}, nil
	}
	return Readiness{}, err
}

// Status is the state of a node.
type Status struct {
	NodeID     string            `json:"node_id"`
	Role       string            `json:"role"`
	Version    string            `json:"version"`
	Namespaces []NamespaceStatus `json:"namespaces"`
	// Raw is the whole answer, which may have more fields.
	Raw json.RawMessage `json:"-"`
}

// NamespaceStatus is the state of a namespace on a node.
type NamespaceStatus struct {
	Name          string `json:"name"`
	Role          string `json:"role"`
	Owner         string `json:"owner"`
	Lineage       string `json:"lineage"`
	Epoch         uint64 `json:"epoch"`
	LSN           uint64 `json:"lsn"`
	DurableLSN    uint64 `json:"durable_lsn"`
	CommitLSN     uint64 `json:"commit_lsn"`
	CheckpointLSN uint64 `json:"checkpoint_lsn"`
	// State is serving, bootstrapping, stalled, forked, frozen, quarantined or
	// missing.
	State string `json:"state"`
	// Code is empty while the namespace is served.
	Code   string `json:"code"`
	Reason string `json:"reason"`
	// Of a replica: where it gets its records from, whether it is connected
	// there, and how far it is behind. nil or empty where the node doesn't say.
	Upstream   string   `json:"upstream"`
	Connected  *bool    `json:"connected"`
	LagRecords *uint64  `json:"lag_records"`
	LagSeconds *float64 `json:"lag_seconds"`
}

// Status asks for the state of the node.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.callRaw(ctx, c.system("v1/status"), &s, &s.Raw)
	return s, err
}

// NamespaceInfo is a namespace as the hubs see it.
type NamespaceInfo struct {
	Name  string   `json:"name"`
	Owner string   `json:"owner"`
	Epoch uint64   `json:"epoch"`
	Hubs  []string `json:"hubs"`
	Acks  string   `json:"acks"`
	LSN   uint64   `json:"lsn"`
}

// Namespaces lists the namespaces that the node knows.
func (c *Client) Namespaces(ctx context.Context) ([]NamespaceInfo, error) {
	var list []NamespaceInfo
	_, err := c.call(ctx, c.system("v1/namespaces"), &list)
	return list, err
}

// CreateNamespace makes a namespace that the node owns. It is durable when the
// call returns.
func (c *Client) CreateNamespace(ctx context.Context, name string) (NamespaceInfo, error) {
	r := c.system("v1/namespaces")
	r.method = http.MethodPost
	r, err := r.withJSON(struct {
		Name string `json:"name"`
	}{name})
	if err != nil {
		return NamespaceInfo{}, err
	}
	var info NamespaceInfo
	_, err = c.call(ctx, r, &info)
	return info, err
}
