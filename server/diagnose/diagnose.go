// Package diagnose looks at a node from outside, running or not, and says step by step
// what is wrong with it and what to do. It changes nothing that the node has.
package diagnose

import (
	"cmp"
	"context"
	"os"
	"time"

	"github.com/unisondb/unisondb/server/config"
)

// State is how a step came out.
type State string

// The states, the worst last.
const (
	Skipped State = "skipped" // there was nothing to look at, or something before it failed
	OK      State = "ok"
	Warn    State = "warn" // it works, and should be looked into
	Fail    State = "fail" // the node doesn't start, or part of it doesn't work
)

var severity = map[State]int{Skipped: 0, OK: 1, Warn: 2, Fail: 3}

// Finding is one thing that a step has found.
type Finding struct {
	State  State  `json:"state"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do; empty where nothing is to be done
}

// Step is one part of the diagnosis.
type Step struct {
	Name     string    `json:"name"`
	State    State     `json:"state"` // the worst of its findings
	Findings []Finding `json:"findings"`
}

// Report is a whole diagnosis.
type Report struct {
	State   State  `json:"state"` // the worst of all steps
	NodeID  string `json:"node_id,omitempty"`
	DataDir string `json:"data_dir,omitempty"`
	Running bool   `json:"running"` // a process has the data directory
	Steps   []Step `json:"steps"`
}

// Options say which node is looked at.
type Options struct {
	Config  []string // files and directories, as the node has them
	DataDir string   // where there is no configuration, or it can't be read
	// Env answers env() in the configuration; nil: the process's environment.
	Env func(string) (string, bool)
	// Clock is the time; nil: time.Now.
	Clock func() time.Time
	// Patience is how long one address may take to answer; 0: 3 s.
	Patience time.Duration
	// Deep reads every byte of the namespaces' files.
	Deep bool
}

// diagnosis is one run.
type diagnosis struct {
	Options
	cfg     *config.Config // nil: it can't be read
	dir     string         // the data directory; empty: not known
	running bool
}

// step adds what it finds.
type step func(ctx context.Context, s *Step)

// Run makes all steps, one after the other. When ctx ends the rest is skipped.
func Run(ctx context.Context, o Options) Report {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Patience = cmp.Or(o.Patience, 3*time.Second)
	d := &diagnosis{Options: o, dir: o.DataDir}
	r := Report{State: OK, Steps: []Step{}}
	for _, next := range []struct {
		name string
		run  step
	}{
		{"configuration", d.configuration},
		{"data directory", d.dataDirectory},
		{"disk space", d.diskSpace},
		{"permissions", d.permissions},
		{"node.json", d.identity},
		{"namespaces", d.namespaces},
		{"control plane", d.controlPlane},
		{"ports", d.ports},
		{"certificates", d.certificates},
		{"plugins", d.plugins},
		{"other nodes", d.otherNodes},
		{"clock", d.clock},
	} {
		s := Step{Name: next.name, Findings: []Finding{}}
		if ctx.Err() == nil {
			next.run(ctx, &s)
		} else {
			s.skip("interrupted")
		}
		s.State = s.worst()
		if severity[s.State] > severity[r.State] {
			r.State = s.State
		}
		r.Steps = append(r.Steps, s)
	}
	r.DataDir, r.Running = d.dir, d.running
	if d.cfg != nil {
		r.NodeID = d.cfg.NodeID
	}
	return r
}

func (s *Step) worst() State {
	worst := Skipped
	for _, f := range s.Findings {
		if severity[f.State] > severity[worst] {
			worst = f.State
		}
	}
	return worst
}

func (s *Step) add(state State, advice, found string) {
	s.Findings = append(s.Findings, Finding{State: state, Found: found, Advice: advice})
}

func (s *Step) ok(found string)           { s.add(OK, "", found) }
func (s *Step) skip(why string)           { s.add(Skipped, "", why) }
func (s *Step) warn(found, advice string) { s.add(Warn, advice, found) }
func (s *Step) fail(found, advice string) { s.add(Fail, advice, found) }

// needs skips a step for which something isn't known.
func (s *Step) needs(known bool, what string) bool {
	if !known {
		s.skip(what + " isn't known")
	}
	return known
}

const (
	theConfiguration = "the configuration"
	theDataDirectory = "the data directory"
)
