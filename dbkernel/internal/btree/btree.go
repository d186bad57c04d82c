// Package btree is the ordered store that a namespace's memtables are flushed
// into: one small interface with two engines, LMDB and bbolt, and one in memory
// for tests, whose commit is all or nothing at a simulated power cut.
//
// A tree holds one keyspace. Keys are 1 to 511 bytes, ordered bytewise; values
// may be empty and have any size.
package btree

import (
	"errors"
	"io"
	"time"
)

// What callers decide by. Errors wrap these.
var (
	// ErrClosed is returned by every call on a closed tree, a second Close
	// included.
	ErrClosed = errors.New("btree: closed")
	// ErrEnded is returned by a snapshot, transaction or cursor after its end.
	ErrEnded = errors.New("btree: the snapshot or transaction has ended")
	// ErrKeySize is returned for a key that is empty or longer than MaxKeyLen.
	ErrKeySize = errors.New("btree: a key has 1 to 511 bytes")
	// ErrDamaged: the file is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrFormat: another program or version wrote the file.
	ErrFormat = errors.New("unknown file format")
	// ErrOpen: the tree is open already, here or in another process.
	ErrOpen = errors.New("already open")
	// ErrFailed: an earlier commit failed in a way that leaves open what reached
	// the disk. The tree takes no more updates until it is opened again.
	ErrFailed = errors.New("btree: an earlier commit failed")
	// ErrPurge: this engine can't remove a pair that lies where no search finds it.
	ErrPurge = errors.New("btree: a pair out of order can't be removed")
	// ErrNoEngine: this build lacks the engine.
	ErrNoEngine = errors.New("engine is not in this build")
)

// MaxKeyLen is how long a key may be, in bytes.
const MaxKeyLen = 511

// Tree is one ordered store. All methods may be called concurrently; updates
// are serialized by the tree.
type Tree interface {
	// Snapshot opens a read view of the last committed state. It must be
	// released, and soon: an old one keeps pages from being reused, and a
	// resize of the map waits for it. Where too many are open it waits for one to
	// be released.
	Snapshot() (Snapshot, error)
	// Update runs fn in one transaction and commits it, fully synced, or leaves
	// the tree as it was. fn may be run again from the start (when the map had
	// to grow), so it must have no effects outside the transaction that don't
	// bear repeating. It runs on a locked OS thread. Neither fn nor, while it
	// waits, the caller may hold a snapshot of the tree: a map that must grow
	// waits for every snapshot to be released, and in the end gives up with an
	// error. A panic in fn leaves the tree as it was and goes on to the caller.
	Update(fn func(Tx) error) error
	// Stats says how large the tree is.
	Stats() (Stats, error)
	// Backup writes a consistent, compact copy of the tree to w, in the
	// engine's own file format.
	Backup(w io.Writer) (int64, error)
	// Close waits for open snapshots and for an update to end, then closes.
	Close() error
}

// Reader reads one consistent state. What it returns is copied out of the file's
// map: a page that is damaged or can't be read fails inside the engine, never in
// the code that looks at a value.
type Reader interface {
	// Get returns the value of key. The bytes belong to the tree: they are
	// valid until the snapshot is released or the transaction writes.
	Get(key []byte) (value []byte, found bool, err error)
	// Head returns the first HeadLen bytes of the value of key (fewer if it is
	// shorter; never nil where found) and its full length, and reads no more of it.
	Head(key []byte) (head []byte, valueLen int, found bool, err error)
	// Cursor opens a cursor; it is closed before its reader ends.
	Cursor() (Cursor, error)
}

// Snapshot is a read view. Get may be called concurrently; a cursor is for one
// goroutine.
type Snapshot interface {
	Reader
	// Release ends the view. It is called exactly once.
	Release()
}

// Tx is the transaction of an Update.
type Tx interface {
	Reader
	// Put stores value under key.
	Put(key, value []byte) error
	// Delete removes key; an absent one is no error.
	Delete(key []byte) error
	// Apply runs edits in the order given, which must ascend strictly by key.
	// For each edit, in order, old is told what the tree held under its key
	// before: the first HeadLen bytes of the value (fewer if it is shorter; never
	// nil) and its full length, or a nil head where the key was absent. It is the
	// fast path of a flush: engines batch it across cgo, so that old may hear of
	// an edit when later ones have been made; it must not use the transaction.
	// The head is valid during the call. old may be nil; an error of it ends
	// Apply. After any error the transaction must not be committed.
	Apply(edits []Edit, old func(i int, head []byte, valueLen int) error) error
	// Purge walks the pairs as they lie in the tree, from the first that a search
	// for low finds, until look answers PurgeEnd, and removes those that it answers
	// PurgeDrop for. It goes by their places and not by their keys: in a damaged page
	// a key may lie where no search finds it, or shadow another. It is slow. look
	// must not use the transaction, and what it is given is valid during the call.
	// ErrPurge where the engine can't remove what lies out of order.
	Purge(low []byte, look func(key, value []byte) PurgeStep) error
}

// PurgeStep is what Tx.Purge does with a pair.
type PurgeStep int

// What Purge does with a pair.
const (
	PurgeKeep PurgeStep = iota // goes on to the next one
	PurgeDrop                  // removes it and goes on
	PurgeEnd                   // keeps it and ends
)

// HeadLen is how many bytes of an old value Apply reports: enough for a cell's
// header.
const HeadLen = 32

// Edit is one change for Tx.Apply.
type Edit struct {
	Key    []byte
	Value  []byte
	Delete bool
}

// Cursor walks a reader's keys. Each move reports whether it arrived at a pair;
// Key and Value are valid until the next move. A cursor that is at no pair (a
// new one, or after a move that found none) stays so until a seek. Errors are
// kept in Err. In a transaction a cursor sees what was written before the move.
type Cursor interface {
	// Seek moves to the first key that is not below key.
	Seek(key []byte) bool
	// SeekBefore moves to the last key that is below key; a nil key means the
	// last key of all.
	SeekBefore(key []byte) bool
	Next() bool
	Prev() bool
	Key() []byte
	Value() []byte
	Err() error
	Close()
}

// Stats describes a tree.
type Stats struct {
	Keys      uint64 // number of keys
	FileBytes int64  // size of the file
	UsedBytes int64  // bytes in pages that hold data
	MapBytes  int64  // size of the map; 0 where the engine has none
	// Snapshots counts the open ones; OldestSnapshot is the age of the oldest. An
	// age of more than a second is a reader that makes the file grow.
	Snapshots      int
	OldestSnapshot time.Duration
}
