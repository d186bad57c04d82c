// Package datamodel is for authors of data models: programs that add a way of
// storing and asking to a node. A model turns a request into operations on keys
// of its own, which the node commits, replicates and keeps like all others, and
// answers queries from them. A model changes nothing itself and needs no disk.
package datamodel

import (
	"context"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// Model is what an author writes.
type Model interface {
	// Configure is called once, before anything else. plugin.Problems name the
	// arguments that are wrong. views gives access to what the node has.
	Configure(ctx context.Context, c plugin.Config, views Views) error
	// Call answers a request; calls run concurrently. An error other than *Error is
	// an internal one. Where a read has changed until the operations are to be committed,
	// the same request is called again, so a call must have no effects of its own.
	Call(ctx context.Context, c Call) (Answer, error)
	// Close ends the model; no Call runs or follows.
	Close(ctx context.Context) error
}

// Views opens what the node has of a namespace.
type Views interface {
	// View reads a namespace's keys of this model.
	View(namespace string) View
}

// View reads the model's own keys of one namespace. Its methods may be called
// concurrently, each reads the newest state.
type View interface {
	// Get has an item for each key, in the order asked, all of one position.
	Get(ctx context.Context, keys ...[]byte) ([]Item, Position, error)
	// Scan reads a page of at most limit keys (0: 1000) behind after, in order.
	Scan(ctx context.Context, prefix, after []byte, limit int) (Page, error)
	// Sync brings an index from a position to the newest one: fn gets the keys'
	// new states in the order in which they became so. It begins with reset true where the
	// index has to begin anew, as it has to from the zero Position. After an error of
	// fn or of the node the index is in between: sync from the zero Position.
	Sync(ctx context.Context, from Position, fn func(reset bool, items []Item) error) (Position, error)
}

// Position says where in a namespace's history; the zero value is nowhere.
type Position struct {
	Lineage string
	Epoch   uint64
	LSN     uint64
}

// Item is one of the model's keys.
type Item struct {
	Key, Value []byte
	Version    string // changes with every write; empty: the key isn't there
}

// Page is a page of a scan.
type Page struct {
	Items    []Item
	Position Position
	More     bool   // the scan goes on behind Last
	Last     []byte // isn't always an item's key
}

// Method is a request that a model answers.
type Method struct {
	Name        string
	Writes      bool // its answers may carry operations: called on the namespace's owner only
	Description string
}

// Call is a client's request.
type Call struct {
	Namespace   string
	Method      string
	Body        []byte
	ContentType string
	AtLeast     Position // the answer must include it
	View        View
}

// Answer answers a call.
type Answer struct {
	Body        []byte
	ContentType string // empty: application/json
	Status      int    // of HTTP; 0: 200. Operations are committed only below 300.
	Operations  []Operation
	// Reads are what the operations depend on.
	Reads []Read
	// Position is where an answer without operations was computed.
	Position Position
}

// Operation changes one of the model's keys.
type Operation struct {
	Key, Value []byte
	Delete     bool
}

// Read is a key that was read, with its version; empty: it wasn't there.
type Read struct {
	Key     []byte
	Version string
}

// Error is an answer that says what the client did wrong.
type Error struct {
	Status  int    // of HTTP, 400 to 499
	Code    string // stable, in capitals: "BAD_REQUEST"
	Message string // what happened, and what to do
}

// Error implements error.
func (e *Error) Error() string { return e.Message }
