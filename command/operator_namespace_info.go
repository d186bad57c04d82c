package command

import (
	"context"
	"flag"
)

type operatorNamespaceInfoCommand struct{ *Meta }

func (c *operatorNamespaceInfoCommand) spec() spec {
	return spec{
		synopsis: "Show one namespace",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Shows the owner of a namespace and how far it is. 'status -namespace=NAME' shows its state on the node.",
		examples: []string{
			"unisondb operator namespace info orders",
			"unisondb operator namespace info -json orders",
		},
	}
}

func (c *operatorNamespaceInfoCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorNamespaceInfoCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	info, err := node.NamespaceInfo(ctx, args[0])
	if err != nil {
		return err
	}
	return c.printNamespaces(info)
}
