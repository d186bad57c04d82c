package command

import (
	"context"
	"flag"
	"strings"
	"time"

	"github.com/unisondb/unisondb/server/diagnose"
)

// exitWarned is the status of a diagnosis that has nothing worse than warnings.
const exitWarned = 2

type operatorDiagnoseCommand struct {
	*Meta
	offlineFlags
	deep     bool
	patience time.Duration
}

func (c *operatorDiagnoseCommand) spec() spec {
	return spec{
		synopsis: "Say what is wrong with this node",
		about: "Looks at this machine's node step by step, whether it runs, doesn't run, or won't start: its configuration, data directory and lock, disk space, permissions, node.json, the files of each namespace, its part of the control plane, its ports and who holds them, certificates, plugin programs, the nodes that it dials, and the clock. It says what to do about what it finds, and changes nothing.\n" +
			"\n" +
			"Run it as the user that runs the node. The exit status is 0 where all is well, 1 where a step fails, and 2 where one warns and none fails.",
		examples: []string{
			"unisondb operator diagnose -config=/etc/unisondb",
			"unisondb operator diagnose -data-dir=/var/lib/unisondb -deep",
			"unisondb operator diagnose -config=/etc/unisondb -json",
		},
	}
}

func (c *operatorDiagnoseCommand) flags(fs *flag.FlagSet) {
	c.define(fs)
	c.jsonFlag(fs)
	fs.BoolVar(&c.deep, "deep", false, "Read every byte of the namespaces' files, where no node runs on them.")
	fs.DurationVar(&c.patience, "wait", 3*time.Second, "How long another node may take to answer, as a `duration`. Default: 3s.")
}

func (c *operatorDiagnoseCommand) run(ctx context.Context, _ []string) error {
	if len(c.config) == 0 && c.dataDir == "" {
		return usagef("name the node's configuration with -config, or at least its data directory with -data-dir")
	}
	r := diagnose.Run(ctx, diagnose.Options{Config: c.config, DataDir: c.dataDir, Env: c.env, Patience: c.patience, Deep: c.deep})
	if err := c.report(r); err != nil {
		return err
	}
	switch r.State {
	case diagnose.Fail:
		return &silentError{}
	case diagnose.Warn:
		return &silentError{status: exitWarned}
	}
	return nil
}

func (c *operatorDiagnoseCommand) report(r diagnose.Report) error {
	if c.asJSON {
		return c.printJSON(r)
	}
	l := c.newList("STATE", "STEP", "FOUND")
	for _, s := range r.Steps {
		name := s.Name
		for _, f := range s.Findings {
			if err := l.add(nil, string(f.State), name, oneLine(f.Found)); err != nil {
				return err
			}
			if f.Advice != "" {
				if err := l.add(nil, "", "", "-> "+oneLine(f.Advice)); err != nil {
					return err
				}
			}
			name = ""
		}
	}
	return l.close(nil)
}

// oneLine keeps a finding in its line of a table.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
