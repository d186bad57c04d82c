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
	// Aside is what was cut off or found unusable, and kept for a human.
	Aside []Aside `json:"aside"`
	// Certificates are those that the node shows, one for each tls block.
	Certificates []Certificate `json:"certificates"`
	// Plugins are the notifiers and data models that are configured on the node.
	Plugins []Plugin `json:"plugins"`
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
	LagBytes   *uint64  `json:"lag_bytes"` // about
	LagSeconds *float64 `json:"lag_seconds"`
	// Hops is how many nodes further up the owner is, and OwnerLag how far the
	// namespace is behind it; nil before the owner was heard of.
	Hops     *int `json:"hops"`
	OwnerLag *Lag `json:"owner_lag"`
	// Snapshot is how far one is that the node receives; nil: none is under way.
	Snapshot *Snapshot `json:"snapshot"`
	// Forks counts how often something was taken out of a replica that wasn't its
	// source's history, since the node started; LastFork says what and why.
	Forks    uint64 `json:"forks"`
	LastFork string `json:"last_fork"`
	// Compared is what comparing with the source has found; nil of an owner.
	Compared *Comparison `json:"compared"`
	// Accepted is a lineage that an operator has accepted and that isn't there yet.
	Accepted string `json:"accepted"`
	// Integrity is what the node has found out about damage; nil where the namespace
	// can't be opened.
	Integrity *Integrity `json:"integrity"`
	// Followers are the nodes that stream the namespace from this one.
	Followers []Follower `json:"followers"`
}

// Lag is how far a state is behind another one.
type Lag struct {
	Records uint64  `json:"records"`
	Bytes   uint64  `json:"bytes"` // about
	Seconds float64 `json:"seconds"`
}

// Snapshot is how far a copy of a namespace has arrived at a replica.
type Snapshot struct {
	Bytes   uint64  `json:"bytes"`   // of cells that are there
	Total   uint64  `json:"total"`   // of all cells, about; 0: not known
	Percent float64 `json:"percent"` // of the cells, about
	// Complete says that the cells are there. The log behind them is up to LSN so
	// far, and the copy is whole at TargetLSN (0: not known).
	Complete  bool   `json:"complete"`
	LSN       uint64 `json:"lsn"`
	TargetLSN uint64 `json:"target_lsn"`
	// Resumed counts the streams that went on with what was there.
	Resumed int `json:"resumed"`
}

// Comparison is what comparing a replica with its source has found.
type Comparison struct {
	LSN           uint64 `json:"lsn"`   // of the newest mark that was compared; 0: none
	Equal         bool   `json:"equal"` // there
	Differences   uint64 `json:"differences"`
	RepairedCells uint64 `json:"repaired_cells"`
	LastError     string `json:"last_error"` // of the last repair; empty: none
}

// Integrity is what a node has found out about damage of a namespace, since its
// process started.
type Integrity struct {
	// Damaged says that something is wrong; the rest says what.
	Damaged bool `json:"damaged"`
	// ScrubbedAt is when the last pass over the files ended; nil: there was none.
	ScrubbedAt    *time.Time `json:"scrubbed_at"`
	ScrubbedLSN   uint64     `json:"scrubbed_lsn"`
	Scrubs        uint64     `json:"scrubs"`
	Scrubbing     bool       `json:"scrubbing"`
	BadRanges     []int      `json:"bad_ranges"` // of the digests
	DamagedCells  uint64     `json:"damaged_cells"`
	RepairedCells uint64     `json:"repaired_cells"`
	TreeDamage    string     `json:"tree_damage"`     // of the B+tree's structure; empty: none is known
	LogDamagedLSN uint64     `json:"log_damaged_lsn"` // the first record that can't be read; 0: none
	// Diverged is a difference from the source that isn't repaired yet; nil: none.
	Diverged *Divergence `json:"diverged"`
}

// Divergence is a difference between two nodes at one mark.
type Divergence struct {
	Mark   uint64    `json:"mark"` // its LSN
	Ranges []int     `json:"ranges"`
	At     time.Time `json:"at"`
}

// Follower is a node that follows a namespace, as its source sees it.
type Follower struct {
	NodeID     string    `json:"node_id"`
	Since      time.Time `json:"since"`
	SentLSN    uint64    `json:"sent_lsn"`
	DurableLSN uint64    `json:"durable_lsn"`
	AppliedLSN uint64    `json:"applied_lsn"`
	LagRecords uint64    `json:"lag_records"`
	// SnapshotBytes is how much was sent of a snapshot that it receives; nil: none is
	// under way.
	SnapshotBytes *uint64 `json:"snapshot_bytes"`
}

// Aside is something below the node's data_dir/aside: a file of records that were cut off,
// or all of a namespace's directory.
type Aside struct {
	Namespace string    `json:"namespace"`
	Path      string    `json:"path"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	Directory bool      `json:"directory"`
	FirstLSN  uint64    `json:"first_lsn"` // of a file
	LastLSN   uint64    `json:"last_lsn"`
	Records   uint64    `json:"records"`
}

// Certificate is what a node uses of the files of a tls block.
type Certificate struct {
	Block       string    `json:"block"`       // as tls of listener "grpc"
	Subject     string    `json:"subject"`     // whose it is; empty: the block names none
	Fingerprint string    `json:"fingerprint"` // SHA-256, in hexadecimal
	NotAfter    time.Time `json:"not_after"`
	LoadedAt    time.Time `json:"loaded_at"`
	// Problem says why newer files aren't used, or what of those in use isn't valid now.
	Problem string `json:"problem"`
}

// Status asks for the state of the node.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.callRaw(ctx, c.system("v1/status"), &s, &s.Raw)
	return s, err
}
