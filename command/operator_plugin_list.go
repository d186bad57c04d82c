package command

import (
	"context"
	"flag"
)

type operatorPluginListCommand struct{ *Meta }

func (c *operatorPluginListCommand) spec() spec {
	return spec{
		synopsis: "List plugins",
		about: "Lists the notifiers and data models that are configured on the node: the state of each, what its process takes, and how far a notifier is behind. " +
			"Below the list it says of each that doesn't work why, and what to do.",
		examples: []string{
			"unisondb operator plugin list",
			"unisondb operator plugin list -json",
		},
	}
}

func (c *operatorPluginListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorPluginListCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	all, err := node.Plugins(ctx)
	if err != nil {
		return err
	}
	l := c.newList(pluginColumns...)
	for _, p := range all {
		if err := l.add(p, pluginCells(p)...); err != nil {
			return err
		}
	}
	if err := l.close(nil); err != nil || c.asJSON {
		return err
	}
	return c.pluginNotes(all)
}
