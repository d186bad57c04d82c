package pluginhost

import (
	"fmt"
	"reflect"
	"time"
)

// Kind is what a plugin does.
type Kind string

// The kinds of plugins.
const (
	// KindNotifier hands changes to something outside. Its program is notifier-<type>.
	KindNotifier Kind = "notifier"
	// KindModel is a data-model extension. Its program is model-<type>.
	KindModel Kind = "model"
)

// RunOn says on which nodes a notifier works.
type RunOn string

// Where notifiers run.
const (
	// RunOnOwner: where this node owns the namespace. The cursor lies in the
	// namespace, so that a new owner goes on where the old one stopped.
	RunOnOwner RunOn = "owner"
	// RunOnEvery: on every node that has the namespace, each from its own log. The
	// cursor lies in a file of the node.
	RunOnEvery RunOn = "every"
)

// Where a notifier begins that has no cursor, or whose cursor is lost.
const (
	// FromNewest begins behind what is there.
	FromNewest = "newest"
	// FromOldest begins with the oldest record that the log holds.
	FromOldest = "oldest"
	// FromSnapshot sends what is there now as puts, then goes on with the log.
	FromSnapshot = "snapshot"
)

// Spec is a plugin as configured: one process, serving one or more namespaces.
type Spec struct {
	// Name is the block's: it tells programs of one type apart, and is what an
	// operator calls it. It may contain a slash.
	Name string
	// Type is the program's, as in notifier-<type>. A model's is its name.
	Type string
	Kind Kind
	// Disabled keeps it configured and not running.
	Disabled   bool
	Namespaces []string
	// SHA256 pins the program's checksum, in hexadecimal digits; empty: whatever is there.
	SHA256 string
	// Version pins what the program says of itself; empty: any.
	Version string
	// MemoryLimit is the resident memory, in bytes, beyond which the process is
	// killed; 0: DefaultMemoryLimit.
	MemoryLimit int64
	// Config is the config block: strings, bools, numbers, []any and map[string]any.
	Config map[string]any
	// Where tells "file:line" of an argument of the config block by its path, blocks
	// first ("tls.cert_file"), and of the block itself by an empty path. It
	// answers "" for what it doesn't know, and may be nil. Specs are
	// compared without it.
	Where func(path string) string
	// Delivery is how a notifier gets its changes.
	Delivery DeliveryOptions
}

// DefaultMemoryLimit is a plugin's where its Spec has none, in bytes.
const DefaultMemoryLimit = 512 << 20

// DeliveryOptions say what a notifier gets, and how. Zero values are defaults.
type DeliveryOptions struct {
	RunOn RunOn // default RunOnOwner
	// Prefix is that of the keys it gets; empty: all.
	Prefix []byte
	// Operations are those it gets: put, delete, delete_row, expire; empty: all.
	Operations []string
	// EntryTypes are those it gets: kv, row, lob or a model's name; empty: all.
	EntryTypes []string
	// MaxDelay is how long events may be held back to travel together.
	MaxDelay time.Duration
	// LatestPerKey drops an event where the same batch has a later one of its key.
	LatestPerKey bool
	// StartFrom is where it begins at first: default FromNewest.
	StartFrom string
	// RestartFrom is where it begins again when the log no longer holds what its
	// cursor points to: default FromOldest.
	RestartFrom string
	// MaxRefusals is how often an event is refused before it becomes a dead letter:
	// default 10.
	MaxRefusals int
	// MaxBatch is how many events travel together at most: default 1000.
	MaxBatch int
}

// Defaults of DeliveryOptions.
const (
	DefaultMaxRefusals = 10
	DefaultMaxBatch    = 1000
)

// withDefaults fills in what was left out.
func (s Spec) withDefaults() Spec {
	if s.MemoryLimit <= 0 {
		s.MemoryLimit = DefaultMemoryLimit
	}
	d := &s.Delivery
	if d.RunOn == "" {
		d.RunOn = RunOnOwner
	}
	if d.StartFrom == "" {
		d.StartFrom = FromNewest
	}
	if d.RestartFrom == "" {
		d.RestartFrom = FromOldest
	}
	if d.MaxRefusals <= 0 {
		d.MaxRefusals = DefaultMaxRefusals
	}
	if d.MaxBatch <= 0 {
		d.MaxBatch = DefaultMaxBatch
	}
	return s
}

// sameProcess says whether a process started for the one serves the other.
func (s Spec) sameProcess(other Spec) bool {
	s.Where, other.Where = nil, nil
	s.Delivery, other.Delivery = DeliveryOptions{}, DeliveryOptions{}
	return reflect.DeepEqual(s, other)
}

// sameDelivery says whether pumps started for the one serve the other.
func (s Spec) sameDelivery(other Spec) bool {
	return reflect.DeepEqual(s.Delivery, other.Delivery)
}

// title names the plugin in messages.
func (s Spec) title() string {
	if s.Kind == KindModel {
		return fmt.Sprintf("model %q", s.Name)
	}
	return fmt.Sprintf("notifier %q %q", s.Type, s.Name)
}
