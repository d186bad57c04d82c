// Package process runs one plugin: it finds and verifies the program, starts it by
// go-plugin, configures and supervises it, and passes calls on to it. What is
// wrong with a plugin is in its Status and never in the way of anybody else.
package process

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// State is how a plugin does.
type State string

// The states of a plugin.
const (
	Starting State = "starting"
	Ready    State = "ready"
	Degraded State = "degraded"
	Stopped  State = "stopped"
)

// Status is a plugin at a moment.
type Status struct {
	State  State
	Reason string // a line for each thing that is wrong, with what to do; may be set while it is starting, too
	// Info is what the plugin says about itself; nil before it was asked the first time. It isn't to be changed.
	Info *pluginv1.DescribeResponse
	// Path and SHA256 are of the program that runs, or was looked at last.
	Path, SHA256 string
	PID          int // 0: none runs
	Restarts     uint64
	Memory       int64 // bytes resident
	CPU          time.Duration
	LinesDropped uint64
}

// Process is a plugin that is run. Its methods may be called concurrently.
type Process struct {
	opts    Options
	timing  Timing
	dropped atomic.Uint64
	reload  chan *reload

	open  context.Context // ends when no call is to begin any more
	close context.CancelFunc
	ctx   context.Context // ends when it is to stop
	stop  context.CancelFunc
	hurry context.Context // ends when there is no time left for stopping
	kill  context.CancelFunc
	done  chan struct{} // closed when all has stopped

	// summed and seen are supervise's alone: what was looked at last, and the state of the
	// file before that.
	summed   program
	seen     stamp
	retiring sync.WaitGroup // instances that others have replaced

	// mu is a leaf: nothing is called and no other lock is taken with it held.
	mu       sync.Mutex
	current  *instance     // that takes calls
	changed  chan struct{} // closed and made anew with each change below
	state    State
	reason   string    // of the last failure, while it is starting
	doing    string    // what it is starting with
	since    time.Time // when that began
	info     *pluginv1.DescribeResponse
	program  program
	restarts uint64
}

// New prepares a plugin. Start runs it.
func New(o Options) *Process {
	p := &Process{
		opts: o, timing: o.Timing.withDefaults(), reload: make(chan *reload),
		done: make(chan struct{}), changed: make(chan struct{}), state: Starting,
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.open, p.close = context.WithCancel(p.ctx)
	p.hurry, p.kill = context.WithCancel(context.Background())
	return p
}

// Start begins to run the plugin and returns at once.
func (p *Process) Start() { go p.supervise() }

// Close lets no call begin any more: those that wait for the plugin end with ErrStopped.
func (p *Process) Close() { p.close() }

// Stop ends the plugin: what it accepted is handed on, then its process exits. It
// returns when no process is left; when ctx ends it is killed. A process that not even the kernel can end,
// because a device doesn't answer it, is left behind. Start must have been called.
func (p *Process) Stop(ctx context.Context) {
	p.stop()
	defer p.kill()
	select {
	case <-p.done:
		return
	case <-ctx.Done():
		p.kill()
	}
	timer := time.NewTimer(p.timing.Exit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.opts.Logger.Error("plugin was killed and doesn't end: it is left behind", "pid", p.Status().PID)
	}
}

// Status is the plugin's state.
func (p *Process) Status() Status {
	p.mu.Lock()
	s := Status{
		State: p.state, Reason: p.reason, Info: p.info, Path: p.program.path, SHA256: p.program.sha256,
		Restarts: p.restarts, LinesDropped: p.dropped.Load(),
	}
	if s.State == Starting {
		s.Reason = p.progressLocked()
	}
	i := p.current
	p.mu.Unlock()
	if i != nil {
		s.PID = i.child.number()
		s.Memory, _ = memoryOf(s.PID) // 0 where it can't be told
		s.CPU = cpuOf(s.PID)
	}
	return s
}

// progressLocked says what a start waits for, and why there was one before.
func (p *Process) progressLocked() string {
	progress := p.doing
	if waited := time.Since(p.since).Round(time.Second); progress != "" && waited >= time.Second {
		progress += fmt.Sprintf(" (for %s)", waited)
	}
	if p.reason == "" {
		return progress
	}
	return strings.TrimPrefix(progress+"; before that: "+p.reason, "; before that: ")
}

// begin notes what a start is at.
func (p *Process) begin(doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing, p.since = doing, time.Now()
}

// Info is what the plugin says about itself; nil before it was ready the first time.
func (p *Process) Info() *pluginv1.DescribeResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

// InfoSoon is Info, but waits while the plugin starts for the first time, or ctx ends.
func (p *Process) InfoSoon(ctx context.Context) *pluginv1.DescribeResponse {
	for {
		p.mu.Lock()
		info, state, changed := p.info, p.state, p.changed
		p.mu.Unlock()
		if info != nil || state != Starting || p.await(ctx, changed) != nil {
			return info
		}
	}
}

// await waits for a change.
func (p *Process) await(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-p.open.Done():
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// update changes what Status tells, and tells it. Only supervise calls it.
func (p *Process) update(change func()) {
	p.mu.Lock()
	before := p.state
	beforeReason := p.reason
	change()
	close(p.changed)
	p.changed = make(chan struct{})
	news := p.state != before || p.reason != beforeReason
	p.mu.Unlock()
	if news && p.opts.OnChange != nil {
		p.opts.OnChange(p.Status())
	}
}

// noteProgram remembers which program was looked at.
func (p *Process) noteProgram(file program) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil { // or else that one is what runs
		p.program = file
	}
}
