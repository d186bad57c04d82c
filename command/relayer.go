package command

import (
	"context"
	"flag"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
)

type relayerCommand struct {
	*Meta
	config stringList
}

func (c *relayerCommand) spec() spec {
	return spec{
		synopsis: "Run a relayer",
		about: "Runs a relayer, which follows namespaces of its upstreams and serves local reads, until SIGINT or SIGTERM; a second signal stops it at once. " +
			reloadHelp + " The log goes to standard error.",
		examples: []string{
			"unisondb relayer -config=/etc/unisondb/relayer.hcl",
		},
	}
}

func (c *relayerCommand) flags(fs *flag.FlagSet) {
	fs.Var(&c.config, "config", "A configuration file, or a directory of them, by its `path`; may be repeated: later ones win.")
}

func (c *relayerCommand) run(context.Context, []string) error {
	if len(c.config) == 0 {
		return usagef("there is nothing to run: name a configuration with -config")
	}
	cfg, err := c.loadConfig(c.config, config.RoleRelayer, false)
	if err != nil {
		return err
	}
	log := c.logger(cfg.Log)
	manager := newServiceManager(c.env, log)
	node, err := c.newNode(*cfg, server.Options{Role: server.RoleRelayer, Logger: log, Version: c.build.Version,
		Load: c.reloadConfig(c.config, config.RoleRelayer, false), Reloading: manager.reloading})
	if err != nil {
		return err
	}
	return c.runNode(log, manager, node, func() error { return nil })
}
