package command

import (
	"context"
	"flag"
)

type operatorNamespaceListCommand struct {
	*Meta
	staleFlag
}

func (c *operatorNamespaceListCommand) spec() spec {
	return spec{
		synopsis: "List namespaces",
		about:    "Lists the namespaces of the group of hubs with their owners, how far they are, and the hubs that have them. A relayer lists its own. 'status' shows the state of each on one node.",
		examples: []string{
			"unisondb operator namespace list",
			"unisondb operator namespace list -json",
		},
	}
}

func (c *operatorNamespaceListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
}

func (c *operatorNamespaceListCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	all, err := node.Namespaces(ctx, c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	return c.printNamespaces(all...)
}
