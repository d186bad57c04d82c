package dbkernel

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// Options configure a DB. The zero value of every field but Dir has a default.
type Options struct {
	Dir    string       // the data directory; required
	FS     vfs.FS       // the operating system's by default
	Logger hclog.Logger // silent by default
	Clock  func() time.Time
	// MemoryLimit bounds the memtables of all namespaces together, in bytes.
	// 0 means 1 GiB.
	MemoryLimit int64
	// IdleAfter is how long a namespace keeps its memory without a read or
	// write. 0 means 60 s.
	IdleAfter time.Duration
	// Defaults is for namespaces that Configure wasn't called for.
	Defaults NamespaceOptions
	// GuardCrashes has a namespace quarantined whose B+tree killed the process
	// before. It takes the process's crash output (debug.SetCrashOutput); where
	// another DB of the process has that, or FS isn't the operating system's,
	// this one goes unguarded.
	GuardCrashes bool
	// ScrubEvery is how long after the end of a scrub a namespace is scrubbed
	// again. 0 means 24 h; below 0 there are no scrubs in the background.
	ScrubEvery time.Duration
	// ScrubBytesPerSecond bounds what background scrubs of all namespaces read
	// together. 0 means 8 MiB/s.
	ScrubBytesPerSecond int64
	// OnEvent is told of what an operator should know. It must not block and
	// must not call back. May be nil.
	OnEvent func(Event)
}

// NamespaceOptions configure one namespace on this node.
type NamespaceOptions struct {
	// Replica makes the namespace take records from its owner (Append) and
	// refuse writes of its own.
	Replica bool
	Storage StorageOptions
	Quota   Quota
}

// Engines of the B+tree.
const (
	EngineLMDB   = "lmdb"
	EngineBolt   = "bolt"
	EngineMemory = "memory" // for tests: lives in Options.FS, all or nothing at a power cut
)

// StorageOptions are how a namespace is stored. Zero fields take the defaults
// of DefaultStorage.
type StorageOptions struct {
	Engine       string
	SegmentSize  int64 // bytes; of a log segment, at most
	MemtableSize int64 // bytes
	// SyncInterval above 0 acknowledges writes before they are synced and syncs
	// the log this often; 0 syncs before acknowledging.
	SyncInterval time.Duration
	// FlushInterval flushes the memtable this often; 0: when it is full, or at a mark.
	FlushInterval time.Duration
	MapSize       int64 // bytes; LMDB's map at first
	Retention     Retention
}

// Retention says how much of the log is kept behind the checkpoint.
type Retention struct {
	MaxAge      time.Duration
	MaxBytes    int64
	MinSegments int
	PinMaxAge   time.Duration // how old what a reader holds may get
	PinMaxBytes int64         // how much a reader may hold
}

// Quota bounds what a namespace's owner accepts. Zero fields don't bound.
type Quota struct {
	MaxBytes            int64 // live keys and values, and open uploads
	WriteBytesPerSecond int64
}

// DefaultStorage is what zero fields of StorageOptions mean.
func DefaultStorage() StorageOptions {
	return StorageOptions{
		Engine:       EngineLMDB,
		SegmentSize:  16 << 20,
		MemtableSize: 64 << 20,
		MapSize:      1 << 30,
		Retention: Retention{
			MaxAge: 24 * time.Hour, MaxBytes: 4 << 30, MinSegments: 2,
			PinMaxAge: 24 * time.Hour, PinMaxBytes: 4 << 30,
		},
	}
}

// withDefaults fills zero fields in from d.
func (s StorageOptions) withDefaults(d StorageOptions) StorageOptions {
	s.Engine = orDefault(s.Engine, d.Engine)
	s.SegmentSize = orDefault(s.SegmentSize, d.SegmentSize)
	s.MemtableSize = orDefault(s.MemtableSize, d.MemtableSize)
	s.SyncInterval = orDefault(s.SyncInterval, d.SyncInterval)
	s.FlushInterval = orDefault(s.FlushInterval, d.FlushInterval)
	s.MapSize = orDefault(s.MapSize, d.MapSize)
	s.Retention.MaxAge = orDefault(s.Retention.MaxAge, d.Retention.MaxAge)
	s.Retention.MaxBytes = orDefault(s.Retention.MaxBytes, d.Retention.MaxBytes)
	s.Retention.MinSegments = orDefault(s.Retention.MinSegments, d.Retention.MinSegments)
	s.Retention.PinMaxAge = orDefault(s.Retention.PinMaxAge, d.Retention.PinMaxAge)
	s.Retention.PinMaxBytes = orDefault(s.Retention.PinMaxBytes, d.Retention.PinMaxBytes)
	return s
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// validated returns the options with defaults applied, or what is wrong with them.
func (o Options) validated() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("a data directory is required")
	}
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.MemoryLimit = orDefault(o.MemoryLimit, 1<<30)
	o.IdleAfter = orDefault(o.IdleAfter, 60*time.Second)
	o.ScrubEvery = orDefault(o.ScrubEvery, 24*time.Hour)
	o.ScrubBytesPerSecond = orDefault(o.ScrubBytesPerSecond, 8<<20)
	o.Defaults.Storage = o.Defaults.Storage.withDefaults(DefaultStorage())
	return o, o.Defaults.Storage.validate()
}

func (s StorageOptions) validate() error {
	switch s.Engine {
	case EngineLMDB, EngineBolt, EngineMemory:
	default:
		return fmt.Errorf("unknown engine %q: use %q or %q", s.Engine, EngineLMDB, EngineBolt)
	}
	if s.SegmentSize < MinSegmentSize || s.SegmentSize > 1<<30 {
		return fmt.Errorf("segment_size %d is out of range: use 64KiB to 1GiB", s.SegmentSize)
	}
	if s.MemtableSize < MinMemtableSize || s.MemtableSize > 1<<30 {
		return fmt.Errorf("memtable_size %d is out of range: use 64KiB to 1GiB", s.MemtableSize)
	}
	return nil
}

// The smallest sizes that StorageOptions takes, in bytes.
const (
	MinSegmentSize  = 64 << 10
	MinMemtableSize = 64 << 10
)

// Event is something that an operator should know.
type Event struct {
	Namespace string
	Kind      EventKind
	Err       error // may be nil
}

// EventKind names an Event.
type EventKind string

// The kinds of events.
const (
	EventFrozen      EventKind = "frozen"
	EventQuarantined EventKind = "quarantined"
	EventPinBroken   EventKind = "pin_broken"
	EventFlushFailed EventKind = "flush_failed"
	EventDamaged     EventKind = "damaged"  // a stored value, a record of the log or the B+tree's structure
	EventDiverged    EventKind = "diverged" // the source has other cells
	EventRepaired    EventKind = "repaired" // a range of cells is what it should be again, or a log begins behind its damage
)
