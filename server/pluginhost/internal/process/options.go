package process

import (
	"time"

	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Options configure a Process.
type Options struct {
	// Name is the configuration block's, Type the program's, as in notifier-<type>.
	Name, Type string
	Kind       pluginv1.Kind
	Namespaces []string
	// SHA256 pins the program's checksum, Version what it says of itself; empty: any.
	SHA256, Version string
	// MemoryLimit is the resident memory, in bytes, beyond which the process is killed.
	MemoryLimit int64
	// Config is the config block, Where tells "file:line" of an argument by its path
	// and may be nil.
	Config map[string]any
	Where  func(path string) string

	PluginDir string
	// SocketDir makes the private directory that sockets are in.
	SocketDir func() (string, error)
	NodeID    string
	// View is what a data model may read; nil for other kinds.
	View pluginv1.ViewServer
	// Logger takes the plugin's messages and those about it.
	Logger hclog.Logger
	// OnChange is told of each change of state, one at a time and in order. It must
	// not block. May be nil.
	OnChange func(Status)
	// Timing is for tests; zero values are defaults.
	Timing Timing
}

// Timing is how long things may take.
type Timing struct {
	// Start is how long a program may take until it says where it listens, Describe
	// and Configure how long it may take to answer.
	Start, Describe, Configure time.Duration
	// Notify is how long a batch may take; then the process is taken for hung. Call is
	// the same for a request to a data model.
	Notify, Call time.Duration
	// Drain is how long a plugin has to end the calls under way and to hand on what it
	// accepted, Exit how long it has to end after that.
	Drain, Exit time.Duration
	// BackoffMin and BackoffMax bound the time between a failure and the next start.
	BackoffMin, BackoffMax time.Duration
	// Rest is the time between starts once the circuit breaker is open, and after the plugin
	// itself refused its configuration.
	Rest time.Duration
	// Stable is how long a process has to live for its end to be no quick failure.
	Stable time.Duration
	// Look is how often a program that can't be used is looked at, Measure how often
	// memory is, Ping how often an idle process is asked whether it is alive, which it has Alive to answer.
	Look, Measure, Ping, Alive time.Duration
}

// quickFailures is how many in a row open the circuit breaker.
const quickFailures = 6

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.Start, time.Minute}, {&t.Describe, time.Minute}, {&t.Configure, time.Minute},
		{&t.Notify, 5 * time.Minute}, {&t.Call, 5 * time.Minute},
		{&t.Drain, 10 * time.Second}, {&t.Exit, 5 * time.Second},
		{&t.BackoffMin, 100 * time.Millisecond}, {&t.BackoffMax, 30 * time.Second},
		{&t.Rest, 5 * time.Minute}, {&t.Stable, time.Minute},
		{&t.Look, 2 * time.Second}, {&t.Measure, 200 * time.Millisecond}, {&t.Ping, 30 * time.Second}, {&t.Alive, time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	return t
}
