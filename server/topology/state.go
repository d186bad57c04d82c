package topology

import (
	"encoding/hex"
	"errors"
	"time"
)

// State is what the group agrees on, as of one index. A State that was handed
// out is never changed: neither its maps nor what they point to. What an entry
// points to is another one exactly when the entry has changed, so that two states can be
// compared entry by entry.
type State struct {
	Cluster string // random, 32 hexadecimal digits; given when the group begins
	Index   uint64 // of the last command that was applied
	// MinReader is the highest kind of command that it was made from: builds that
	// read fewer can't take it over.
	MinReader Kind
	// Chain is the hash of all entries up to Index and of what came of them. Two members
	// at the same index that differ in it have gone different ways.
	Chain       Hash
	Hubs        map[string]*Hub
	Namespaces  map[string]*Namespace // by name
	Deleted     map[string]*Namespace // by lineage, until their grace is over
	Relayers    map[string]*Relayer
	Assignments map[string]*Assignment // by Assignment.Key
	Plugins     map[string]*Plugin     // the catalog, by name
	Tokens      map[string]*Token      // join tokens, by id

	derived *lookup // nil where the state was put together by hand
}

// NewState is the state before any command.
func NewState() *State {
	return &State{
		Hubs: map[string]*Hub{}, Namespaces: map[string]*Namespace{}, Deleted: map[string]*Namespace{}, Relayers: map[string]*Relayer{},
		Assignments: map[string]*Assignment{}, Plugins: map[string]*Plugin{}, Tokens: map[string]*Token{},
	}
}

// Hash is a SHA-256.
type Hash [32]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(b []byte) error {
	d, err := hex.DecodeString(string(b))
	if err == nil && len(d) != len(h) {
		err = errors.New("a hash has 64 hexadecimal digits")
	}
	if err != nil {
		return err
	}
	copy(h[:], d)
	return nil
}

// Hub is a member of the group.
type Hub struct {
	ID       string `json:"id"`
	Instance string `json:"instance"` // of its data directory
	Raft     string `json:"raft"`     // address
	GRPC     string `json:"grpc"`     // address; empty: others can't reach it
	Version  string `json:"version"`
	Region   string `json:"region,omitempty"`
	Voter    bool   `json:"voter"`
	// ReadsUpTo is the highest number of a command that its build knows.
	ReadsUpTo Kind `json:"reads_up_to"`
}

// Node names a hub or a relayer.
type Node struct {
	Kind NodeKind `json:"kind"`
	ID   string   `json:"id"`
}

// NodeKind is what a node is.
type NodeKind string

// The kinds of nodes.
const (
	KindHub     NodeKind = "hub"
	KindRelayer NodeKind = "relayer"
)

// Namespace is who has a namespace, and the settings that belong to the group.
type Namespace struct {
	Name string `json:"name"`
	// Lineage is 32 hexadecimal digits; a new one is a new history.
	Lineage string `json:"lineage"`
	Owner   Node   `json:"owner"`
	Term    uint64 `json:"term"` // raised at each change of the owner
	// Instance is that of the hub which it was created for: another one of the same id has
	// lost the data, and must not begin it anew under the lineage that others have copies of.
	Instance string `json:"instance,omitempty"`
	// Via is the hub that receives it from its owner, where that is a relayer; empty
	// before it has come for the first time.
	Via      string    `json:"via,omitempty"`
	Settings Settings  `json:"settings"`
	Created  time.Time `json:"created"`
	// Deleted is when it was deleted; zero: it wasn't. Nodes then set their data aside, and
	// remove that when Grace is over. The name is free again at once.
	Deleted time.Time     `json:"deleted,omitzero"`
	Grace   time.Duration `json:"grace,omitempty"`
	// Replaced says of a deleted one that its owner had lost it and made another one in its
	// place: what others have of it stays until somebody accepts the new one there.
	Replaced bool `json:"replaced,omitempty"`
}

// Settings of a namespace rule all hubs and relayers.
type Settings struct {
	Acks                string `json:"acks"` // local
	MaxBytes            int64  `json:"max_bytes,omitempty"`
	WriteBytesPerSecond int64  `json:"write_bytes_per_second,omitempty"`
	// Replicate says who receives it; nil: nobody but by assignment, and everybody may who names it.
	Replicate *Replicate `json:"replicate,omitempty"`
}

// Replicate are patterns of node ids, in which * stands for any text and ? for a
// character, and a selector of labels, of which a relayer must have all.
type Replicate struct {
	Relayers []string          `json:"relayers,omitempty"`
	Selector map[string]string `json:"selector,omitempty"`
	Hubs     []string          `json:"hubs,omitempty"`
}

// Relayer is a relayer that has joined.
type Relayer struct {
	ID        string            `json:"id"`
	Instance  string            `json:"instance"`
	Labels    map[string]string `json:"labels,omitempty"`
	Region    string            `json:"region,omitempty"`
	Advertise string            `json:"advertise,omitempty"` // where others may follow it
	Upstream  string            `json:"upstream,omitempty"`  // a relayer or hub that it follows first; empty: the hub that it attends
	Draining  bool              `json:"draining,omitempty"`
	// Kept are the namespaces that it was assigned when it began to drain: it gets no others.
	Kept []string `json:"kept,omitempty"`
	// Credential is the SHA-256 of what it shows instead of a certificate, in hexadecimal; empty: nothing.
	Credential string `json:"credential,omitempty"`
	// Token is the id of the join token that it came with last, and Granted the labels
	// of that, which go before its own.
	Token   string            `json:"token,omitempty"`
	Granted map[string]string `json:"granted,omitempty"`
}

// Assignment gives a namespace to relayers beside those that its Replicate setting
// names: to one, or to all that have every label of a selector.
type Assignment struct {
	Namespace string            `json:"namespace"`
	Relayer   string            `json:"relayer,omitempty"` // an id, or a pattern of ids
	Selector  map[string]string `json:"selector,omitempty"`
}

// Plugin is an entry of the catalog: a plugin that every node runs that has one of
// its namespaces and its program. Its fields are those of HCL's blocks.
type Plugin struct {
	Name       string         `json:"name"`
	Kind       string         `json:"kind"` // notifier, model
	Type       string         `json:"type"` // of a notifier
	Namespaces []string       `json:"namespaces"`
	RunOn      string         `json:"run_on,omitempty"` // owner, every
	SHA256     string         `json:"sha256,omitempty"`
	Version    string         `json:"version,omitempty"`
	Config     map[string]any `json:"config,omitempty"`
	// Options are the notifier's further arguments by their HCL names.
	Options map[string]any `json:"options,omitempty"`
}

// Token lets relayers join that have no certificate.
type Token struct {
	ID      string            `json:"id"`
	SHA256  string            `json:"sha256"` // of the secret part, in hexadecimal
	Expires time.Time         `json:"expires"`
	Uses    int               `json:"uses"`              // that are left
	Relayer string            `json:"relayer,omitempty"` // a pattern of the ids that may use it; empty: any
	Labels  map[string]string `json:"labels,omitempty"`  // which its user gets whatever it says of itself
}

// Source is a node that a namespace can be streamed from.
type Source struct {
	Node    string `json:"node"`
	Address string `json:"address"` // gRPC
}
