package command

import (
	"context"
	"flag"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorPluginListCommand struct {
	*Meta
	staleFlag
	catalog bool
}

func (c *operatorPluginListCommand) spec() spec {
	return spec{
		synopsis: "List plugins",
		about: "Lists the notifiers and data models that are configured on the node: the state of each, what its process takes, and how far a notifier is behind. " +
			"Below the list it says of each that doesn't work why, and what to do. With -catalog it lists what is registered in the group's catalog instead, wherever that runs.",
		examples: []string{
			"unisondb operator plugin list",
			"unisondb operator plugin list -json",
			"unisondb operator plugin list -catalog",
		},
	}
}

func (c *operatorPluginListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
	fs.BoolVar(&c.catalog, "catalog", false, "List the group's catalog instead of what the node runs.")
}

func (c *operatorPluginListCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	if c.catalog {
		return c.listCatalog(ctx, node)
	}
	if c.stale {
		return usagef("-stale is for -catalog: what a node runs it knows itself")
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

func (c *operatorPluginListCommand) listCatalog(ctx context.Context, node *client.Client) error {
	all, err := node.CatalogPlugins(ctx, c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	l := c.newList("PLUGIN", "KIND", "TYPE", "NAMESPACES", "RUNS ON", "VERSION", "SHA-256")
	for _, p := range all {
		if err := l.add(p, p.Name, p.Kind, dash(p.Type), strings.Join(p.Namespaces, ","), dash(p.RunOn), dash(p.Version), dash(p.SHA256)); err != nil {
			return err
		}
	}
	return l.close(nil)
}
