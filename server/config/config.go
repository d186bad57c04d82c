// Package config turns HCL files into diagnostics and a plain runtime
// configuration. It imports nothing of ours.
package config

import (
	"strings"
	"time"
)

// Config is a node's whole configuration, resolved: defaults applied, sizes in
// bytes, every value checked. What the files said and how is gone.
type Config struct {
	NodeID      string
	Region      string
	DataDir     string
	PluginDir   string
	MemoryLimit int64 // bytes

	Log   Log
	HTTP  *Listener // nil: none
	GRPC  *Listener
	Redis *RedisListener

	Storage     Storage // defaults for every namespace
	Replication Replication
	Namespaces  []Namespace // in the order of the files
	Notifiers   []Notifier  // all, those inside namespaces included
	Models      []Model
	Raft        *Raft    // nil: no raft block
	Relayer     *Relayer // nil: no relayer block
	ACL         bool
	Telemetry   Telemetry

	// where says in which file and line a block or key stands, for messages about
	// what the node can't do: "listener.redis" -> "hub.hcl:12". It is nil where no file was
	// read.
	where map[string]string
}

// Log configures logging.
type Log struct {
	Level  string // trace, debug, info, warn, error
	Format string // text, json
}

// Listener is a door.
type Listener struct {
	Address   string
	Advertise string // what others dial; Address where it is no wildcard
	Insecure  bool   // plain TCP beyond loopback was asked for
	TLS       *TLS
}

// RedisListener is the Redis door.
type RedisListener struct {
	Listener
	Namespace string
}

// TLS names files.
type TLS struct {
	CertFile          string
	KeyFile           string
	CAFile            string
	RequireClientCert bool
}

// Storage is how a namespace is stored.
type Storage struct {
	Engine        string // lmdb, bolt
	SegmentSize   int64
	MemtableSize  int64
	Sync          string // always, interval
	SyncInterval  time.Duration
	FlushInterval time.Duration
	MapSize       int64
	History       time.Duration
	Retention     Retention
}

// Retention is how much of the log is kept behind the checkpoint.
type Retention struct {
	MaxAge      time.Duration
	MaxBytes    int64
	MinSegments int
	PinMaxAge   time.Duration
	PinMaxBytes int64
}

// Replication configures streams. Rates of 0 have no cap.
type Replication struct {
	Compression            string // zstd, none
	SnapshotBytesPerSecond int64
	FollowerBytesPerSecond int64
}

// Namespace is a namespace block.
type Namespace struct {
	Name      string
	Acks      string  // local, quorum, or a number
	Storage   Storage // the node's defaults with the block's changes
	Quota     Quota
	Replicate *Replicate
}

// Quota of 0 doesn't bound.
type Quota struct {
	MaxBytes            int64
	WriteBytesPerSecond int64
}

// Replicate says which nodes receive a namespace.
type Replicate struct {
	Relayers []string
	Selector map[string]string
	Hubs     []string
}

// Notifier is a notifier block, at the top or inside a namespace.
type Notifier struct {
	Type       string
	Name       string // <namespace>/<type> for one inside a namespace
	Namespaces []string
	RunOn      string // owner, every
	Prefix     string
	Operations []string      // nil: all
	EntryTypes []string      // kv, row, lob and names of models; nil: all
	MaxDelay   time.Duration // how long events may be held back to travel together
	// LatestPerKey drops an event behind which a newer one of the same key waits.
	LatestPerKey bool
	// StartFrom is where one without a cursor begins, and RestartFrom where one does
	// whose cursor the log no longer reaches: newest, oldest or snapshot.
	StartFrom   string
	RestartFrom string
	MaxRefusals int // of an event, before it becomes a dead letter
	MaxBatch    int // events in a batch
	Program     Program
	Config      map[string]any // the config block, or the block's own arguments
	Where       Places         `json:"-"`
}

// Model is a data-model extension.
type Model struct {
	Name       string
	Namespaces []string
	Program    Program
	Config     map[string]any
	Where      Places `json:"-"`
}

// Program is what a plugin's program must be, and what it may take.
type Program struct {
	SHA256      string // of the file, in lower-case hexadecimal digits; empty: any
	Version     string // what it must report; empty: any
	MemoryLimit int64  // bytes
}

// Places say where the arguments of a plugin's block stand: "file:line" by path,
// blocks first ("tls.cert_file"); "" is the block itself.
type Places map[string]string

// At is where an argument stands, or what it would be in; empty where nothing is known.
func (p Places) At(path string) string {
	for {
		if where, ok := p[path]; ok || path == "" {
			return where
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
}

// Raft is a hub's control plane.
type Raft struct {
	Address         string
	Advertise       string
	BootstrapExpect int
	Join            []string
	Voter           bool
	Insecure        bool
	TLS             *TLS
}

// Relayer is the relayer block.
type Relayer struct {
	Labels    map[string]string
	Own       []string
	Upstreams []Upstream
}

// Upstream is a node that a relayer follows.
type Upstream struct {
	Name       string
	Addresses  []string
	Namespaces []string // nil: what the control plane assigns
	// JoinToken lets the relayer join where it has no certificate: the operator's word
	// for the first session, that isn't needed behind it.
	JoinToken string `json:"-"`
	TLS       *TLS
}

// Telemetry configures metrics and traces.
type Telemetry struct {
	Prometheus   bool
	OTLPEndpoint string
}
