package command

import (
	"context"
	"flag"
)

type operatorNamespaceListCommand struct{ *Meta }

func (c *operatorNamespaceListCommand) spec() spec {
	return spec{
		synopsis: "List namespaces",
		about:    "Lists the namespaces that the node has, or should have, with their owners and how far they are. 'status' shows the state of each.",
		examples: []string{
			"unisondb operator namespace list",
			"unisondb operator namespace list -json",
		},
	}
}

func (c *operatorNamespaceListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorNamespaceListCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	all, err := node.Namespaces(ctx)
	if err != nil {
		return err
	}
	return c.printNamespaces(all...)
}
