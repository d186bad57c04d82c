package httpapi

import (
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// Status is what a node says of itself. Fields are only ever added.
type Status struct {
	NodeID     string            `json:"node_id"`
	InstanceID string            `json:"instance_id"`
	Role       string            `json:"role"`
	Version    string            `json:"version"`
	Namespaces []NamespaceStatus `json:"namespaces"`
	// Control is how the node stands to the group of hubs.
	Control *ControlStatus `json:"control,omitempty"`
	// Aside is what was cut off or found unusable, and kept for a human.
	Aside []AsideStatus `json:"aside,omitempty"`
	// Certificates are those that the node shows, one for each tls block.
	Certificates []CertificateStatus `json:"certificates,omitempty"`
	// Plugins are those that are configured, as GET /v1/plugins lists them.
	Plugins []pluginhost.Status `json:"plugins"`
}

// ControlStatus is how a hub stands to its group, or a relayer to the hub that it attends.
type ControlStatus struct {
	Cluster string `json:"cluster,omitempty"`
	// Leader is the group's, as this hub knows it; empty: none is known.
	Leader   string `json:"leader,omitempty"`
	IsLeader bool   `json:"is_leader,omitempty"`
	Index    uint64 `json:"index"` // of the newest state here
	// LastContact is how long ago the leader was heard of, in seconds; nil: never, or this is it.
	LastContact *float64 `json:"last_contact_seconds,omitempty"`
	Hubs        int      `json:"hubs,omitempty"`
	// Relayers attend this hub.
	Relayers int `json:"relayers,omitempty"`
	// Hub is the one that a relayer attends; empty: none at the moment.
	Hub string `json:"hub,omitempty"`
	// Problem says why the node takes no part, and what to do.
	Problem string `json:"problem,omitempty"`
}

// CertificateStatus is the certificate of a tls block.
type CertificateStatus struct {
	Block       string    `json:"block"`   // as tls of listener "grpc"
	Subject     string    `json:"subject"` // whose it is; empty: the block names none
	Fingerprint string    `json:"fingerprint"`
	NotAfter    time.Time `json:"not_after"`
	LoadedAt    time.Time `json:"loaded_at"`
	// Problem says why newer files aren't used, or what of those in use isn't valid now.
	Problem string `json:"problem,omitempty"`
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
	// Accepted is a lineage that an operator has accepted and that isn't here yet.
	Accepted string `json:"accepted,omitempty"`
	// Warnings are what doesn't keep the namespace from being served: settings of this node's files
	// that aren't the group's, or why it isn't where the control plane wants it.
	Warnings []string `json:"warnings,omitempty"`

	// Upstream and what follows are of replicas. The lag is that behind the node
	// which it follows, and OwnerLag that behind the owner, Hops further up.
	Upstream   string    `json:"upstream,omitempty"`
	Connected  *bool     `json:"connected,omitempty"`
	LagRecords *uint64   `json:"lag_records,omitempty"`
	LagBytes   *uint64   `json:"lag_bytes,omitempty"`
	LagSeconds *float64  `json:"lag_seconds,omitempty"`
	Hops       *int      `json:"hops,omitempty"`
	OwnerLag   *Lag      `json:"owner_lag,omitempty"`
	Snapshot   *Snapshot `json:"snapshot,omitempty"`
	// Forks counts how often something was taken out of the namespace that wasn't
	// the source's history, and LastFork says what and why.
	Forks    uint64      `json:"forks,omitempty"`
	LastFork string      `json:"last_fork,omitempty"`
	Compared *Comparison `json:"compared,omitempty"`

	Integrity *Integrity `json:"integrity,omitempty"`
	// Followers are the nodes that stream the namespace from this one.
	Followers []Follower `json:"followers,omitempty"`
}

// Lag is how far a state is behind another one.
type Lag struct {
	Records uint64  `json:"records"`
	Bytes   uint64  `json:"bytes"` // about
	Seconds float64 `json:"seconds"`
}

// Snapshot is how far a copy of a namespace has arrived at a replica. What the
// replica had before is served meanwhile.
type Snapshot struct {
	Bytes   uint64  `json:"bytes"`   // of cells that are here
	Total   uint64  `json:"total"`   // of all cells, about; 0: not known
	Percent float64 `json:"percent"` // of the cells, about
	// Complete says that the cells are here. The log behind them is up to LSN so
	// far, and the copy is whole at TargetLSN (0: not known).
	Complete  bool   `json:"complete"`
	LSN       uint64 `json:"lsn"`
	TargetLSN uint64 `json:"target_lsn"`
	// Resumed counts the streams that went on with what was here.
	Resumed int `json:"resumed"`
}

// Comparison is what comparing a replica with its source has found, since the
// process started.
type Comparison struct {
	LSN           uint64 `json:"lsn"`   // of the newest mark that was compared; 0: none
	Equal         bool   `json:"equal"` // there
	Differences   uint64 `json:"differences"`
	RepairedCells uint64 `json:"repaired_cells"`
	LastError     string `json:"last_error,omitempty"` // of the last repair
}

// Integrity is what a node has found out about damage of a namespace, since the
// process started.
type Integrity struct {
	// Damaged says that something is wrong; the rest says what.
	Damaged bool `json:"damaged"`
	// ScrubbedAt and ScrubbedLSN are of the last pass over the files; nil: there was none.
	ScrubbedAt    *time.Time `json:"scrubbed_at,omitempty"`
	ScrubbedLSN   uint64     `json:"scrubbed_lsn"`
	Scrubs        uint64     `json:"scrubs"`
	Scrubbing     bool       `json:"scrubbing"`
	BadRanges     []int      `json:"bad_ranges"` // of the digests
	DamagedCells  uint64     `json:"damaged_cells"`
	RepairedCells uint64     `json:"repaired_cells"`
	TreeDamage    string     `json:"tree_damage,omitempty"`     // of the B+tree's structure
	LogDamagedLSN uint64     `json:"log_damaged_lsn,omitempty"` // the first record that can't be read; 0: none
	// Diverged is a difference from the source that isn't repaired yet.
	Diverged *Divergence `json:"diverged,omitempty"`
}

// Divergence is a difference between two nodes at one mark.
type Divergence struct {
	Mark   uint64    `json:"mark"` // its LSN
	Ranges []int     `json:"ranges"`
	At     time.Time `json:"at"`
}

// IntegrityOf is the public form of what the kernel knows.
func IntegrityOf(k dbkernel.Integrity) *Integrity {
	out := &Integrity{
		Damaged: k.Damaged() || k.Diverged != nil, ScrubbedAt: outTime(k.ScrubbedAt), ScrubbedLSN: k.ScrubbedLSN,
		Scrubs: k.Scrubs, Scrubbing: k.Scrubbing, BadRanges: append([]int{}, k.BadRanges...),
		DamagedCells: k.DamagedCells, RepairedCells: k.RepairedCells, TreeDamage: k.TreeDamage, LogDamagedLSN: k.LogDamagedLSN,
	}
	if d := k.Diverged; d != nil {
		out.Diverged = &Divergence{Mark: d.Mark, Ranges: append([]int{}, d.Ranges...), At: d.At.UTC()}
	}
	return out
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
	SnapshotBytes *uint64 `json:"snapshot_bytes,omitempty"`
}

// AsideStatus is something below data_dir/aside.
type AsideStatus struct {
	Namespace string    `json:"namespace"`
	Path      string    `json:"path"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	// Directory says that it is all of a namespace's directory; otherwise it is a
	// file of records.
	Directory bool   `json:"directory"`
	FirstLSN  uint64 `json:"first_lsn"`
	LastLSN   uint64 `json:"last_lsn"`
	Records   uint64 `json:"records"`
}
