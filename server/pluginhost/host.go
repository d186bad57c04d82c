// Package pluginhost starts and supervises plugins, programs of their own, and
// hands a namespace's changes to notifiers and clients' requests to data models.
// No plugin, however broken, keeps the node from its work: what is wrong with
// one is in its Status.
package pluginhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/pluginhost/internal/process"
)

// Options configure a Host.
type Options struct {
	// PluginDir is where the programs are.
	PluginDir string
	// DataDir is the node's; cursors and dead letters lie in its folder notifiers.
	DataDir string
	NodeID  string
	// Namespace returns a namespace that the node serves, or an error such as
	// dbkernel.ErrNamespaceNotFound; it is asked again after that.
	Namespace func(name string) (*dbkernel.Namespace, error)
	// Owns says whether this node owns a namespace; it is asked again and again.
	Owns func(namespace string) bool
	// Logger is the node's; each plugin's messages appear below it under its name. Silent by default.
	Logger hclog.Logger
	// OnEvent is told of every Event. It must not block. May be nil.
	OnEvent func(Event)
}

// Event is what an operator should know of a plugin: a change of its state, or
// something in the delivery to it.
type Event struct {
	Time   time.Time
	Plugin string
	// Kind is the new state, or one of cursor_lost, dead_letter, dead_letters_full, bad_answer
	// and cursor_unsaved.
	Kind      string
	Namespace string // of the delivery; empty for a state
	Reason    string
}

// DeadLetter is an event that a notifier's other side didn't want, set aside.
type DeadLetter struct {
	ID        string    `json:"id"`
	Namespace string    `json:"namespace"`
	Reason    string    `json:"reason"`
	Refusals  int       `json:"refusals"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	// Event is the event's JSON, as notifications have it.
	Event []byte `json:"-"`
}

// Host runs plugins. Its methods may be called concurrently.
type Host struct {
	opts    Options
	log     hclog.Logger
	sockets *process.Sockets

	// changing is held while the set of plugins changes, so that changes follow one
	// another. It is taken before mu.
	changing sync.Mutex
	stopped  bool // with changing held

	mu      sync.RWMutex
	entries []*entry // by name
}

// New prepares a host. It starts nothing.
func New(o Options) *Host {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	return &Host{opts: o, log: o.Logger, sockets: process.NewSockets(o.DataDir)}
}

// Start begins to run plugins, and returns at once: it never fails or waits
// because of one.
func (h *Host) Start(specs []Spec) {
	if err := h.sockets.Wipe(); err != nil {
		h.log.Error("directory for the plugins' sockets can't be used, so no plugin can start", "error", err)
	}
	_ = h.Apply(context.Background(), specs) // there is nothing to stop
}

// Apply changes the set of plugins while running. Those whose Spec is the same go on
// untouched; of those where only Delivery changed the process does. It returns when
// what is no longer wanted has stopped. When ctx ends that is killed, and the error says so; the
// new set runs all the same.
func (h *Host) Apply(ctx context.Context, specs []Spec) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.stopped {
		return nil
	}
	before := map[string]*entry{}
	for _, e := range h.all() {
		before[e.spec().Name] = e
	}
	var next, begin []*entry
	for _, s := range h.distinct(specs) {
		e := before[s.Name]
		switch {
		case e == nil || !e.spec().sameProcess(s):
			e = h.newEntry(s)
			begin = append(begin, e)
		default:
			delete(before, s.Name)
			e.adopt(s)
		}
		next = append(next, e)
	}
	err := stopAll(ctx, slices.Collect(maps.Values(before)))
	h.mu.Lock()
	h.entries = next
	h.mu.Unlock()
	for _, e := range begin {
		e.start()
	}
	return err
}

// distinct are the specs by name, with defaults. Names are the configuration's to
// check; of two that are the same the first counts.
func (h *Host) distinct(specs []Spec) []Spec {
	seen := map[string]bool{}
	var kept []Spec
	for _, s := range specs {
		if seen[s.Name] {
			h.log.Error("two plugins have the same name: the second is left out", "plugin", s.Name)
			continue
		}
		seen[s.Name] = true
		kept = append(kept, s.withDefaults())
	}
	slices.SortFunc(kept, func(a, b Spec) int { return cmp.Compare(a.Name, b.Name) })
	return kept
}

// Stop drains and ends all plugins, and returns when no process is left. When ctx
// ends, those that are still there are killed, and the error says so.
func (h *Host) Stop(ctx context.Context) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.stopped {
		return nil
	}
	h.stopped = true
	err := stopAll(ctx, h.all())
	return errors.Join(err, h.sockets.Remove())
}

// stopAll stops plugins side by side.
func stopAll(ctx context.Context, entries []*entry) error {
	var wg sync.WaitGroup
	for _, e := range entries {
		wg.Go(func() { e.stop(ctx) })
	}
	wg.Wait()
	if len(entries) > 0 && ctx.Err() != nil {
		return fmt.Errorf("plugins had no time to hand on what they accepted: %w", context.Cause(ctx))
	}
	return nil
}

func (h *Host) all() []*entry {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.entries
}

// notifiersDir is where cursors and dead letters lie.
func (h *Host) notifiersDir() string { return filepath.Join(h.opts.DataDir, "notifiers") }

// find is the plugin of a name, or ErrPluginNotFound.
func (h *Host) find(name string) (*entry, error) {
	for _, e := range h.all() {
		if e.spec().Name == name {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: no plugin %q is configured on this node: see 'unisondb operator plugin list'", ErrPluginNotFound, name)
}

// model is the data model of a name, or nil.
func (h *Host) model(name string) *entry {
	for _, e := range h.all() {
		if s := e.spec(); s.Kind == KindModel && s.Name == name {
			return e
		}
	}
	return nil
}

// Plugins is the state of all plugins, by name.
func (h *Host) Plugins() []Status {
	var all []Status
	for _, e := range h.all() {
		all = append(all, e.status())
	}
	return all
}

// Plugin is the state of one plugin. It answers ErrPluginNotFound.
func (h *Host) Plugin(name string) (Status, error) {
	e, err := h.find(name)
	if err != nil {
		return Status{}, err
	}
	return e.status(), nil
}

// Reload looks at a plugin's program again and starts it anew, without a restart of the
// node; where both can run side by side, the old process works until the new one is ready. It
// returns the new state when the plugin is ready or degraded, or ctx ends; what is wrong with the
// plugin is in its Reason. Errors are ErrPluginNotFound, ErrNotReady for one that is disabled or
// stopped, and the context's; the reload goes on after that.
func (h *Host) Reload(ctx context.Context, name string) (Status, error) {
	e, err := h.find(name)
	if err != nil {
		return Status{}, err
	}
	err = e.reload(ctx)
	return e.status(), err
}

// DeadLetters lists a notifier's, the oldest first. It answers ErrPluginNotFound,
// ErrNoDeadLetters, and ErrNotReady while they can't be read.
func (h *Host) DeadLetters(name string) ([]DeadLetter, error) {
	d, err := h.deliveries(name)
	if err != nil {
		return nil, err
	}
	letters, err := d.letters.List()
	if err != nil {
		return nil, err
	}
	out := make([]DeadLetter, 0, len(letters))
	for _, l := range letters {
		out = append(out, DeadLetter{
			ID: l.ID, Namespace: l.Namespace, Reason: l.Reason, Refusals: l.Refusals,
			First: l.First, Last: l.Last, Event: l.Event,
		})
	}
	return out, nil
}

// RetryDeadLetters sends dead letters again, in order; no ids: all. It answers how
// many were accepted and how many are left of those asked for, and ErrPluginNotFound,
// ErrNoDeadLetters, ErrDeadLetterNotFound, ErrNotReady.
func (h *Host) RetryDeadLetters(ctx context.Context, name string, ids []string) (accepted, left int, err error) {
	e, err := h.find(name)
	if err != nil {
		return 0, 0, err
	}
	d, err := h.deliveries(name)
	if err != nil {
		return 0, 0, err
	}
	if s := e.status(); s.State != StateReady {
		return 0, 0, fmt.Errorf("%w: %s is %s: try again when it is ready", ErrNotReady, e.spec().title(), s.State)
	}
	return d.letters.Retry(ctx, e.target, ids...)
}

// deliveries is how a notifier's changes are delivered.
func (h *Host) deliveries(name string) (*deliveries, error) {
	e, err := h.find(name)
	if err != nil {
		return nil, err
	}
	s := e.spec()
	if s.Kind != KindNotifier {
		return nil, fmt.Errorf("%s: %w", s.title(), ErrNoDeadLetters)
	}
	d := e.deliveries()
	if d == nil {
		return nil, fmt.Errorf("%w: %s is disabled, starting or stopping", ErrNotReady, s.title())
	}
	if d.trouble != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReady, d.trouble)
	}
	return d, nil
}
