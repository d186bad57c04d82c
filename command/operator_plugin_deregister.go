package command

import (
	"context"
	"flag"
	"fmt"
)

type operatorPluginDeregisterCommand struct {
	*Meta
	yesFlag
}

func (c *operatorPluginDeregisterCommand) spec() spec {
	return spec{
		synopsis: "Take a plugin out of the group's catalog",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Takes a plugin out of the group's catalog: nodes stop it. It doesn't have to work, or to be on any node. Plugins of a node's own configuration stay. What a notifier hasn't delivered by then it never delivers, unless it is registered again while the log still has it.",
		examples: []string{
			"unisondb operator plugin deregister orders",
			"unisondb operator plugin deregister -yes orders",
		},
		writes: true,
	}
}

func (c *operatorPluginDeregisterCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.yesFlag.define(fs)
}

func (c *operatorPluginDeregisterCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	if err := c.confirm(c.yesFlag, fmt.Sprintf("Plugin %q is to be stopped on all nodes and taken out of the catalog.", args[0])); err != nil {
		return err
	}
	if err := node.DeregisterPlugin(ctx, args[0]); err != nil {
		return err
	}
	return c.succeeded("Plugin %q is no longer in the catalog.", args[0])
}
