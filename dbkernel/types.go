package dbkernel

import (
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// Limits of the data model. The unit is bytes.
const (
	MaxKeyLen    = 400      // a key; a row key and a column name together
	MaxValueLen  = 8 << 20  // a value
	MaxBatchLen  = 32 << 20 // keys and values of one batch or transaction
	MaxObjectLen = 1 << 40  // a large object
	MaxChunkLen  = 1 << 20  // a piece of a large object in the log
	MaxNameLen   = 64       // a namespace's name
	MaxPageItems = 1000     // items of one page of a scan
	MaxPageLen   = 4 << 20  // keys and values of one page of a scan
)

// Value is what a key holds.
type Value struct {
	Data      []byte
	Version   Version
	ExpiresAt time.Time // zero: never
}

// Row is a row's columns.
type Row struct {
	Columns map[string][]byte
	// Version changes with every write to the row, whichever columns were asked for.
	Version   Version
	ExpiresAt time.Time // the earliest of the columns'; zero: never
}

// Object describes a large object.
type Object struct {
	Key       []byte
	Size      int64
	CRC32     uint32 // IEEE, of the bytes
	Version   Version
	ExpiresAt time.Time
}

// Scan asks for a page of an ordered scan. Bounds are keys of the model that
// is scanned: Start inclusive, End exclusive; nil means unbounded. Prefix
// narrows both.
type Scan struct {
	Prefix  []byte
	Start   []byte
	End     []byte
	Limit   int // items; 0 or more than MaxPageItems: MaxPageItems
	Reverse bool
	// After continues behind this key (before it, in reverse).
	After    []byte
	KeysOnly bool     // of key-values
	Columns  []string // of rows; nil: all. A row with none of them is left out.
}

// KVItem is an item of a scan of key-values.
type KVItem struct {
	Key []byte
	Value
}

// RowItem is an item of a scan of rows.
type RowItem struct {
	Key []byte
	Row
}

// Page is a page of a scan, all of one LSN. More says that the scan goes on
// behind Last, which is the key looked at last. A page may end early, and even
// be empty: a scan must not hold a view for long.
type Page[T any] struct {
	Items []T
	More  bool
	Last  []byte
}

// Write options that conditions and expiry share.

// Cond is the condition of a conditional write: at most one field is set.
type Cond struct {
	IfVersion Version // it has this version
	IfExists  bool    // it exists, in any version
	IfAbsent  bool    // it doesn't exist
}

// State is what a namespace can do at the moment.
type State string

// The states of a namespace as far as the kernel knows them.
const (
	StateServing     State = "serving"
	StateFrozen      State = "frozen"
	StateQuarantined State = "quarantined"
)

// Status is where a namespace stands.
type Status struct {
	Name          string
	Replica       bool
	Lineage       Lineage
	Epoch         uint64 // of the last record
	LSN           uint64 // last record appended
	DurableLSN    uint64
	CommitLSN     uint64
	CheckpointLSN uint64
	FirstLSN      uint64 // first record that the log still holds
	State         State
	Code          string // stable, empty while serving
	Reason        string
	// Unreadable says that the namespace can't be opened: nothing of it can be read,
	// and of the above only Lineage may be known.
	Unreadable bool
}

// LogOffset is a place in the log's files.
type LogOffset struct {
	Segment uint64
	Offset  int64
	LSN     uint64
	Epoch   uint64
}

// Run is a run of whole records, in LSN order without gaps, byte for byte as
// they are in the owner's log. The bytes are shared and must not be changed.
type Run struct {
	First, Last uint64   // LSNs
	Bytes       int      // of all Records
	Records     [][]byte // one or more whole records in each slice
	// Commit is the commit LSN when the run was read; Last never exceeds it.
	Commit uint64
	// Live says that the run came from memory and not from the disk.
	Live bool

	chunk []byte // what Records lie in, if that is this run's alone
}

// Release gives back the memory of the records, for another run to use. Who may still use
// one of them, or have handed it on, must not call it; nobody has to.
func (run Run) Release() {
	if run.chunk != nil {
		wal.Recycle(run.chunk)
	}
}

// SegmentCopy is a segment of the log that a backup copied.
type SegmentCopy struct {
	Segment uint64
	Path    string
}
