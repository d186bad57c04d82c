// Package notifier is for authors of notifiers: programs that hand a
// namespace's changes to something outside. A node starts the program, gives it its
// configuration and sends it changes in batches, in order, each of which it
// acknowledges; what it doesn't accept comes again.
package notifier

import (
	"context"
	"time"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// Notifier is what an author writes.
type Notifier interface {
	// Configure is called once, before anything else. plugin.Problems name the
	// arguments that are wrong.
	Configure(ctx context.Context, c plugin.Config) error
	// Notify hands over a batch. It is called for one batch of a namespace at a
	// time, and for several namespaces at once. An error has the whole batch come
	// again; Result says more than that. What is accepted must be safe with the other side:
	// it doesn't come again.
	Notify(ctx context.Context, b Batch) (Result, error)
	// Close hands on what was accepted and ends; no Notify runs or follows.
	Close(ctx context.Context) error
}

// Batch is changes of one namespace, in the order of their LSN and index.
type Batch struct {
	Namespace string
	Lineage   string // of the namespace: another one is another namespace of that name
	Events    []Event
}

// Operation is what happened to a key, in the words that notifications use.
type Operation string

// The operations.
const (
	Put       Operation = "put"
	Delete    Operation = "delete"
	DeleteRow Operation = "delete_row"
	Expire    Operation = "expire"
	// Reset says that history was cut: what was derived from earlier changes is to be
	// read again. It has no key.
	Reset Operation = "reset"
)

// Event is one change. What identifies it for ever is its namespace with
// lineage, Epoch, LSN and Index.
type Event struct {
	Key       []byte
	Operation Operation
	EntryType string // "kv", "row", "lob" or a data model's name
	LSN       uint64
	Epoch     uint64
	// Index is the change's place among the Count changes of its record. An event
	// of a snapshot has a Count of 0.
	Index, Count int
	Time         time.Time // of the record, by its owner's clock; of an event of a snapshot: when it was read
	Columns      []string  // of a row, that were put, deleted or expired
}

// Result says what became of a batch. The zero value: everything was accepted.
type Result struct {
	// Rejected lists what wasn't accepted, in rising order of Event. An event
	// behind a rejected one with the same key has to be rejected as well (Blocked), so
	// that order by key is kept.
	Rejected []Rejection
	// RetryAfter is how long the other side asks to be left alone; 0: the node decides.
	RetryAfter time.Duration
}

// Rejection is an event that wasn't accepted.
type Rejection struct {
	Event  int // its place in Batch.Events
	Cause  Cause
	Reason string // for a human
}

// Cause says what the node does next with a rejected event.
type Cause int

// The causes.
const (
	// Unavailable: the other side can't be reached or is busy; the event comes
	// again for as long as it takes.
	Unavailable Cause = iota + 1
	// Refused: the other side didn't want it. It comes again, and becomes a dead
	// letter after the configured number of refusals.
	Refused
	// Invalid: no further try can help. It becomes a dead letter at once.
	Invalid
	// Blocked: it wasn't tried, because an earlier one wasn't accepted.
	Blocked
)
