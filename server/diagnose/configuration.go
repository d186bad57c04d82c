package diagnose

import (
	"context"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/server/config"
)

// configuration reads the files as the node does.
func (d *diagnosis) configuration(_ context.Context, s *Step) {
	if len(d.Config) == 0 {
		s.skip("no configuration is named: give it with -config to have all of the node looked at")
		return
	}
	cfg, err := config.Load(d.Config, config.LoadOptions{Env: d.Env})
	var invalid *config.Error
	switch {
	case errors.As(err, &invalid):
		for _, problem := range invalid.Diagnostics {
			s.fail(problem.String(), "correct the file; 'unisondb config validate' checks it")
		}
		return
	case err != nil:
		s.fail(err.Error(), "check the path, and that this user may read it")
		return
	}
	for _, problem := range cfg.NotBuilt() {
		s.fail(problem.Error(), "take it out of the configuration")
	}
	d.cfg = cfg
	if d.dir == "" {
		d.dir = cfg.DataDir
	}
	s.ok(fmt.Sprintf("node %s; namespace blocks: %d, notifiers: %d, models: %d", cfg.NodeID, len(cfg.Namespaces), len(cfg.Notifiers), len(cfg.Models)))
}
