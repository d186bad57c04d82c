package pluginhost

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
	"github.com/unisondb/unisondb/server/pluginhost/internal/delivery"
	"github.com/unisondb/unisondb/server/pluginhost/internal/models"
	"github.com/unisondb/unisondb/server/pluginhost/internal/process"
)

// entry is a plugin that is configured: its process, and what brings changes or
// requests to it.
type entry struct {
	host   *Host
	specs  atomic.Pointer[Spec] // the newest one; what concerns the process never changes
	proc   *process.Process     // nil: disabled
	caller *models.Caller       // of a data model
	target delivery.Target      // of a notifier

	beginning sync.WaitGroup // of start's deliver
	// pumping is held while pumps are begun or ended. It is taken before mu.
	pumping sync.Mutex
	mu      sync.Mutex
	pumps   *deliveries // nil while none is
	stopped bool
}

func (h *Host) newEntry(s Spec) *entry {
	e := &entry{host: h}
	e.specs.Store(&s)
	if s.Disabled {
		return e
	}
	o := process.Options{
		Name: s.Name, Type: s.Type, Kind: pluginv1.Kind_KIND_NOTIFIER, Namespaces: s.Namespaces,
		SHA256: s.SHA256, Version: s.Version, MemoryLimit: s.MemoryLimit, Config: s.Config, Where: e.where,
		PluginDir: h.opts.PluginDir, SocketDir: h.sockets.Dir, NodeID: h.opts.NodeID,
		Logger: h.log.Named(s.Name), OnChange: e.changed,
	}
	if s.Kind == KindModel {
		o.Kind = pluginv1.Kind_KIND_DATA_MODEL
		o.View = models.NewView(s.Name, s.Namespaces, h.opts.Namespace)
	}
	e.proc = process.New(o)
	if s.Kind == KindModel {
		e.caller = models.NewCaller(models.Options{
			Model: s.Name, Namespaces: s.Namespaces, Program: program{e.proc},
			Source: h.opts.Namespace, Owns: h.opts.Owns,
		})
	} else {
		e.target = delivery.OneAtATime(e.proc)
	}
	return e
}

func (e *entry) spec() *Spec { return e.specs.Load() }

// where tells an argument's place by the newest configuration: its lines may have moved.
func (e *entry) where(path string) string {
	if f := e.spec().Where; f != nil {
		return f(path)
	}
	return ""
}

// changed passes a change of state on.
func (e *entry) changed(s process.Status) {
	e.host.opts.OnEvent(Event{Time: time.Now(), Plugin: e.spec().Name, Kind: string(s.State), Reason: s.Reason})
}

// happened passes on what happens in the delivery.
func (e *entry) happened(d delivery.Event) {
	event := Event{Time: time.Now(), Plugin: d.Notifier, Kind: string(d.Kind), Namespace: d.Namespace}
	if d.Err != nil {
		event.Reason = d.Err.Error()
	}
	e.host.opts.OnEvent(event)
}

// start runs the plugin. It waits for nothing.
func (e *entry) start() {
	if e.proc == nil {
		return
	}
	e.proc.Start()
	if e.spec().Kind == KindNotifier {
		e.beginning.Go(e.deliver)
	}
}

// adopt takes a Spec that the same process serves.
func (e *entry) adopt(s Spec) {
	same := e.spec().sameDelivery(s)
	e.specs.Store(&s)
	if same || e.proc == nil || s.Kind != KindNotifier {
		return
	}
	e.pumping.Lock()
	defer e.pumping.Unlock()
	e.withdraw()
	e.deliverLocked()
}

// deliver begins to bring changes to the notifier.
func (e *entry) deliver() {
	e.pumping.Lock()
	defer e.pumping.Unlock()
	e.deliverLocked()
}

func (e *entry) deliverLocked() {
	e.mu.Lock()
	stopped := e.stopped
	e.mu.Unlock()
	if stopped {
		return
	}
	d := e.newDeliveries()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pumps = d
}

// withdraw ends the pumps, and returns when they have saved their cursors. It is called with
// pumping held.
func (e *entry) withdraw() {
	e.mu.Lock()
	d := e.pumps
	e.pumps = nil
	e.mu.Unlock()
	if d != nil {
		d.stop()
	}
}

// stop ends the pumps and then the process; when ctx ends it is killed.
func (e *entry) stop(ctx context.Context) {
	if e.proc == nil {
		return
	}
	e.mu.Lock()
	e.stopped = true
	e.mu.Unlock()
	e.proc.Close() // a pump that waits for the plugin has nothing to wait for
	e.pumping.Lock()
	e.withdraw()
	e.pumping.Unlock()
	e.beginning.Wait()
	e.proc.Stop(ctx)
}

// reload starts the program anew, and the pumps where they couldn't begin.
func (e *entry) reload(ctx context.Context) error {
	s := e.spec()
	if e.proc == nil {
		return fmt.Errorf("%w: %s is disabled: enable it in the configuration", ErrNotReady, s.title())
	}
	if d := e.deliveries(); d != nil && d.trouble != nil {
		e.pumping.Lock()
		e.withdraw()
		e.deliverLocked()
		e.pumping.Unlock()
	}
	err := e.proc.Reload(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case e.proc.Status().State == process.Stopped:
		return fmt.Errorf("%w: %s is stopped", ErrNotReady, s.title())
	case err != nil:
		e.host.log.Debug("reload of a plugin failed", "plugin", s.Name, "error", err) // its reason says so
	}
	return nil
}

func (e *entry) deliveries() *deliveries {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pumps
}

// status is the plugin as an operator sees it.
func (e *entry) status() Status {
	spec := e.spec()
	s := Status{Name: spec.Name, Type: spec.Type, Kind: spec.Kind, State: StateDisabled, MemoryLimit: spec.MemoryLimit, Namespaces: []NamespaceStatus{}}
	if e.proc != nil {
		s.take(e.proc.Status())
	}
	d := e.deliveries()
	if d == nil {
		for _, name := range spec.Namespaces {
			s.Namespaces = append(s.Namespaces, NamespaceStatus{Name: name})
		}
		return s
	}
	s.Namespaces = d.status(spec.Namespaces)
	if d.trouble != nil && s.State == StateReady {
		s.State, s.Reason = StateDegraded, d.trouble.Error()
	}
	return s
}

// take fills in what the process tells.
func (s *Status) take(p process.Status) {
	s.State, s.Reason = State(p.State), p.Reason
	s.Version, s.Description = p.Info.GetVersion(), p.Info.GetDescription()
	s.SHA256, s.Path, s.PID, s.Restarts = p.SHA256, p.Path, p.PID, p.Restarts
	s.MemoryBytes, s.CPUSeconds, s.LogLinesDropped = p.Memory, p.CPU.Seconds(), p.LinesDropped
	for _, m := range p.Info.GetMethods() {
		s.Methods = append(s.Methods, Method{Name: m.GetName(), Writes: m.GetWrites(), Description: m.GetDescription()})
	}
}

// source finds namespaces for the pumps.
type source struct{ h *Host }

// Namespace implements delivery.Source.
func (s source) Namespace(name string) (*dbkernel.Namespace, error) { return s.h.opts.Namespace(name) }

// deliveries is what brings changes to one notifier: a pump for each namespace.
type deliveries struct {
	pumps   []*delivery.Pump
	letters *delivery.DeadLetters
	// trouble is why nothing is delivered, whatever the process does.
	trouble error

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newDeliveries opens the dead letters and begins the pumps.
func (e *entry) newDeliveries() *deliveries {
	spec, h := e.spec(), e.host
	ctx, cancel := context.WithCancel(context.Background())
	d := &deliveries{cancel: cancel}
	path := delivery.DeadLettersPath(h.notifiersDir(), spec.Name)
	var err error
	d.letters, err = delivery.OpenDeadLetters(delivery.DeadLetterOptions{Name: spec.Name, Path: path, Logger: h.log.Named(spec.Name)})
	if err != nil {
		d.trouble = fmt.Errorf("its dead letters can't be read, so nothing is delivered: %w: move %s away, then run 'unisondb operator plugin reload %s'", err, path, spec.Name)
		h.log.Error("plugin gets no changes", "plugin", spec.Name, "error", d.trouble)
		return d
	}
	for _, name := range spec.Namespaces {
		p, err := delivery.New(e.pumpOptions(name, d.letters))
		if err != nil {
			d.trouble = fmt.Errorf("nothing is delivered: %w: correct the configuration and run 'unisondb operator reload'", err)
			h.log.Error("plugin gets no changes", "plugin", spec.Name, "error", d.trouble)
			return d
		}
		d.pumps = append(d.pumps, p)
	}
	for _, p := range d.pumps {
		d.running.Go(func() { p.Run(ctx) })
	}
	return d
}

func (e *entry) pumpOptions(namespace string, letters *delivery.DeadLetters) delivery.Options {
	s, h := e.spec(), e.host
	o := delivery.Options{
		Name: s.Name, Namespace: namespace, Source: source{h}, Target: e.target,
		Filter:   delivery.Filter{Prefix: s.Delivery.Prefix, Operations: s.Delivery.Operations, EntryTypes: s.Delivery.EntryTypes},
		MaxDelay: s.Delivery.MaxDelay, LatestPerKey: s.Delivery.LatestPerKey,
		StartFrom: delivery.Start(s.Delivery.StartFrom), RestartFrom: delivery.Start(s.Delivery.RestartFrom),
		MaxRefusals: s.Delivery.MaxRefusals, MaxBatch: s.Delivery.MaxBatch,
		DeadLetters: letters, Logger: h.log.Named(s.Name), OnEvent: e.happened,
	}
	var kept delivery.CursorStore
	if s.Delivery.RunOn == RunOnEvery {
		kept = delivery.FileCursor(nil, delivery.CursorPath(h.notifiersDir(), s.Name, namespace))
	} else {
		kept = delivery.CellCursor(source{h}, namespace, s.Name)
		o.Owned = func() bool { return h.opts.Owns(namespace) }
	}
	o.Cursor = &lateCursor{CursorStore: kept, proc: e.proc}
	return o
}

// lateCursor keeps no cursor for a notifier that fires and forgets. Which one does is
// known only once its program has run, and the pump begins before that: a
// change that is made meanwhile isn't to be missed by the others.
type lateCursor struct {
	delivery.CursorStore
	proc *process.Process
}

// Save implements delivery.CursorStore. The first one, of the place where the pump begins,
// may come before the program has run: where that doesn't work, the place is kept for when it does.
func (c *lateCursor) Save(ctx context.Context, cursor delivery.Cursor) error {
	info := c.proc.InfoSoon(ctx)
	switch {
	case info.GetFireAndForget():
		return nil
	case info == nil && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return c.CursorStore.Save(ctx, cursor)
}

// Load implements delivery.CursorStore.
func (c *lateCursor) Load(ctx context.Context) (delivery.Cursor, bool, error) {
	if c.proc.Info().GetFireAndForget() {
		return delivery.Cursor{}, false, nil
	}
	return c.CursorStore.Load(ctx)
}

// stop ends the pumps, and returns when they have saved their cursors.
func (d *deliveries) stop() {
	d.cancel()
	d.running.Wait()
}

// longCall is how long a batch has to be under way before an operator is told.
const longCall = 2 * time.Second

// status is how the pumps do, in the order of the namespaces.
func (d *deliveries) status(names []string) []NamespaceStatus {
	all := make([]NamespaceStatus, 0, len(names))
	for _, p := range d.pumps {
		s := p.Status()
		ns := NamespaceStatus{
			Name: s.Namespace, LagRecords: s.LagRecords, Delivered: s.Delivered, Refusals: s.Refusals,
			DeadLetters: s.DeadLetters, CursorsLost: s.CursorsLost, LastError: s.LastError,
		}
		if s.Cursor != (dbkernel.Position{}) {
			ns.Cursor = s.Cursor.String()
		}
		if waited := time.Since(s.InFlightSince).Round(time.Second); !s.InFlightSince.IsZero() && waited >= longCall {
			ns.LastError = fmt.Sprintf("the plugin hasn't answered to a batch for %s", waited)
		}
		all = append(all, ns)
	}
	for _, name := range names[len(all):] { // in trouble
		all = append(all, NamespaceStatus{Name: name})
	}
	return slices.Clip(all)
}
