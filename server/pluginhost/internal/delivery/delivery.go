// Package delivery brings one namespace's changes to one notifier plugin: at
// least once, in order per key, with a cursor that survives. Read DESIGN.md before you
// change it.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Target is the notifier that gets the changes. Its Notify waits until the plugin
// is ready, and sees to it that a plugin that hangs doesn't do so for ever. It is
// called for one batch of a namespace at a time.
type Target interface {
	Notify(ctx context.Context, r *pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error)
}

// Source has the namespaces. It is asked again after a handle was closed or
// superseded, and while the namespace isn't there.
type Source interface {
	Namespace(name string) (*dbkernel.Namespace, error)
}

// Start is where a notifier begins.
type Start string

// Where a notifier begins.
const (
	// FromNewest begins behind what is there.
	FromNewest Start = "newest"
	// FromOldest begins with the oldest record that the log holds.
	FromOldest Start = "oldest"
	// FromSnapshot sends what is there as puts, then goes on with the log.
	FromSnapshot Start = "snapshot"
)

// Options configure a Pump. Zero values are defaults where one is named.
type Options struct {
	Name      string // the notifier's; in logs and events
	Namespace string
	Source    Source
	// Target is shared by the pumps of a notifier, and with DeadLetters.Retry: make it
	// by OneAtATime.
	Target Target

	Filter       Filter
	MaxDelay     time.Duration // how long events may be held back to travel together
	LatestPerKey bool          // drop an event where later ones of its batch say all that it says
	StartFrom    Start         // without a cursor; default FromNewest
	RestartFrom  Start         // after a lost cursor; default FromOldest
	MaxRefusals  int           // of an event, before it becomes a dead letter; default 10
	MaxBatch     int           // events; default 1000

	// Cursor keeps the cursor; nil: it is forgotten when Run ends, which suits a
	// notifier that fires and forgets.
	Cursor CursorStore
	// DeadLetters takes what is refused for good. It is shared by the pumps of a
	// notifier. Required unless Cursor is nil: then what is refused for good is
	// counted and dropped.
	DeadLetters *DeadLetters
	// Owned says whether this node may deliver the namespace's changes at the moment; it is asked
	// again and again. nil: it always may.
	Owned func() bool

	// Grace is how long Run goes on after its context's end to hear the
	// answer that is under way, and as long again to save the cursor; default 2 s.
	Grace  time.Duration
	Logger hclog.Logger // silent by default
	// OnEvent is told what an operator should know. It must not block. May be nil.
	OnEvent func(Event)
}

// Event is something that an operator should know.
type Event struct {
	Notifier  string
	Namespace string
	Kind      EventKind
	Err       error
}

// EventKind names an Event.
type EventKind string

// The kinds of events.
const (
	// EventCursorLost: the log doesn't hold what the cursor points to, or its
	// history was cut. The notifier gets a reset and begins again as configured.
	EventCursorLost EventKind = "cursor_lost"
	// EventDeadLetter: an event was refused for good and set aside.
	EventDeadLetter EventKind = "dead_letter"
	// EventDeadLettersFull: there is no room to set an event aside, so that the
	// namespace's delivery stands still.
	EventDeadLettersFull EventKind = "dead_letters_full"
	// EventBadAnswer: an answer of the plugin breaks the contract.
	EventBadAnswer EventKind = "bad_answer"
	// EventCursorUnsaved: the cursor can't be saved; delivery goes on, and a crash
	// would repeat what follows the last one.
	EventCursorUnsaved EventKind = "cursor_unsaved"
)

// State says what a Pump is doing.
type State string

// The states of a Pump.
const (
	// StateWaiting: the namespace isn't here, isn't this node's, or can't be read.
	StateWaiting State = "waiting"
	// StateSnapshot: what is there is being sent.
	StateSnapshot State = "snapshot"
	// StateFollowing: the log is being followed.
	StateFollowing State = "following"
	// StateRetrying: nothing of the last batch was accepted; it comes again.
	StateRetrying State = "retrying"
	// StateFull: there is no room for dead letters.
	StateFull State = "full"
	// StateStopped: Run isn't running.
	StateStopped State = "stopped"
)

// Status is where a Pump stands. Counts are since Run's start.
type Status struct {
	Namespace string
	State     State
	// Cursor is the position up to which everything is accepted, filtered out or set
	// aside; zero while it isn't known. Saved is the part of it that survives a crash.
	Cursor dbkernel.Position
	Saved  dbkernel.Position
	// LagRecords is how far Cursor is behind the commit LSN.
	LagRecords uint64
	Pending    int    // events in hand: read, and not settled
	Delivered  uint64 // events accepted
	Refusals   uint64 // of events, Unavailable and Blocked not counted
	// DeadLetters are this namespace's that are set aside at the moment.
	DeadLetters int
	CursorsLost uint64
	// InFlightSince is when the call of Notify began that hasn't come back; zero
	// while there is none.
	InFlightSince time.Time
	// LastError is what keeps something from being accepted, or what the pump waits
	// for; empty where nothing does.
	LastError   string
	LastErrorAt time.Time
}

// validated returns the options with defaults applied, or what is wrong with them.
func (o Options) validated() (Options, error) {
	o.StartFrom = orDefault(o.StartFrom, FromNewest)
	o.RestartFrom = orDefault(o.RestartFrom, FromOldest)
	o.MaxRefusals = orDefault(o.MaxRefusals, 10)
	o.MaxBatch = orDefault(o.MaxBatch, 1000)
	o.Grace = orDefault(o.Grace, 2*time.Second)
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Owned == nil {
		o.Owned = func() bool { return true }
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	switch {
	case o.Namespace == "" || o.Target == nil:
		return o, errors.New("a namespace and a target are required")
	case o.Cursor != nil && o.DeadLetters == nil:
		return o, errors.New("a pump with a cursor needs a place for dead letters")
	case o.MaxRefusals < 0 || o.MaxBatch < 0 || o.MaxDelay < 0 || o.Grace < 0:
		return o, errors.New("no option may be negative")
	}
	for _, s := range []Start{o.StartFrom, o.RestartFrom} {
		if s != FromNewest && s != FromOldest && s != FromSnapshot {
			return o, fmt.Errorf("unknown place to start from %q: use %q, %q or %q", s, FromNewest, FromOldest, FromSnapshot)
		}
	}
	return o, o.Filter.validate()
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
