package command

import (
	"context"
	"flag"
)

type operatorNamespaceInfoCommand struct {
	*Meta
	staleFlag
}

func (c *operatorNamespaceInfoCommand) spec() spec {
	return spec{
		synopsis: "Show one namespace",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Shows the owner of a namespace, how far it is, which hubs have it, and its settings. Any hub knows that; a relayer knows its own namespaces. 'status -namespace=NAME' shows its state on one node.",
		examples: []string{
			"unisondb operator namespace info orders",
			"unisondb operator namespace info -json orders",
		},
	}
}

func (c *operatorNamespaceInfoCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
}

func (c *operatorNamespaceInfoCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	info, err := node.NamespaceInfo(ctx, args[0], c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	if err := c.printNamespaces(info); err != nil || c.asJSON {
		return err
	}
	return c.namespaceDetails(info)
}
