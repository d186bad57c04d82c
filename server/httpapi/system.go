package httpapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// Status is what a node says of itself. Fields are only ever added.
type Status struct {
	NodeID     string            `json:"node_id"`
	InstanceID string            `json:"instance_id"`
	Role       string            `json:"role"`
	Version    string            `json:"version"`
	Namespaces []NamespaceStatus `json:"namespaces"`
}

// NamespaceStatus is where a namespace stands on the node that answers.
type NamespaceStatus struct {
	Name          string `json:"name"`
	Role          string `json:"role"` // owner, replica
	Owner         string `json:"owner"`
	Lineage       string `json:"lineage"`
	Epoch         uint64 `json:"epoch"`
	LSN           uint64 `json:"lsn"`
	DurableLSN    uint64 `json:"durable_lsn"`
	CommitLSN     uint64 `json:"commit_lsn"`
	CheckpointLSN uint64 `json:"checkpoint_lsn"`
	State         string `json:"state"`
	Code          string `json:"code"`
	Reason        string `json:"reason"`
	// Upstream and what follows are of replicas.
	Upstream   string   `json:"upstream,omitempty"`
	Connected  *bool    `json:"connected,omitempty"`
	LagRecords *uint64  `json:"lag_records,omitempty"`
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
}

// ReadyQuery is what a probe of readiness asks for.
type ReadyQuery struct {
	MaxLag time.Duration // 0: any
	Leader bool          // a known leader, on a hub
}

func (c *call) health() error {
	out := struct {
		Status     string   `json:"status"`
		Namespaces []string `json:"namespaces"`
	}{"ok", append([]string{}, c.api.node.Names()...)}
	return c.json(out)
}

func (c *call) ready() error {
	var q ReadyQuery
	var err error
	if q.MaxLag, err = c.duration("max_lag", 0); err != nil {
		return err
	}
	if _, ok := c.param("max_lag"); ok && q.MaxLag <= 0 {
		return badRequest(CodeBadRequest, "max_lag=%v is not positive", q.MaxLag)
	}
	if q.Leader, err = c.flag("leader"); err != nil {
		return err
	}
	reasons := c.api.node.NotReady(q)
	if c.api.isDraining() {
		reasons = append(reasons, "the node is shutting down")
	}
	if len(reasons) > 0 {
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady, Message: "the node isn't ready: " + reasons[0], Reasons: reasons}
	}
	return c.json(struct {
		Status string `json:"status"`
	}{"ready"})
}

func (c *call) metrics() error {
	c.api.metrics.ServeHTTP(c.w, c.Request)
	return nil
}

func (c *call) status() error { return c.json(c.api.node.Status()) }

// namespaceInfo is a namespace as the group of hubs sees it.
type namespaceInfo struct {
	Name  string   `json:"name"`
	Owner string   `json:"owner"`
	Epoch uint64   `json:"epoch"`
	Hubs  []string `json:"hubs"`
	Acks  string   `json:"acks"`
	LSN   uint64   `json:"lsn"`
}

func outNamespace(s NamespaceStatus) namespaceInfo {
	return namespaceInfo{Name: s.Name, Owner: s.Owner, Epoch: s.Epoch, Hubs: []string{s.Owner}, Acks: "local", LSN: s.LSN}
}

func (c *call) listNamespaces() error {
	out := []namespaceInfo{}
	for _, s := range c.api.node.Status().Namespaces {
		out = append(out, outNamespace(s))
	}
	return c.json(out)
}

// createNamespace makes a namespace. Until access control exists, only somebody
// on this machine may.
func (c *call) createNamespace() error {
	if !c.fromLoopback() {
		return &Error{Status: http.StatusForbidden, Code: CodeForbidden, Message: "this route changes the node, so it answers on loopback only: call it on the machine itself"}
	}
	var in struct {
		Name string `json:"name"`
	}
	if err := c.readJSON(maxSmallBody, &in); err != nil {
		return err
	}
	if !dbkernel.ValidName(in.Name) {
		return badRequest(CodeBadRequest, "name=%q can't name a namespace: use 1 to %d letters, digits, dots, dashes and underscores, a letter or digit first", in.Name, dbkernel.MaxNameLen)
	}
	c.namespace = in.Name
	if err := c.api.node.CreateNamespace(in.Name); err != nil {
		if errors.Is(err, dbkernel.ErrNamespaceExists) {
			return fmt.Errorf("%w: choose another name", err)
		}
		return err
	}
	return c.json(outNamespace(c.api.node.NamespaceStatus(in.Name)))
}

func (c *call) fromLoopback() bool {
	host, _, err := net.SplitHostPort(c.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
