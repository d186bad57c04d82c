package command

import (
	"context"
	"flag"
)

type operatorNamespaceCreateCommand struct {
	*Meta
	replace bool
}

func (c *operatorNamespaceCreateCommand) spec() spec {
	return spec{
		synopsis: "Make a namespace",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Makes a namespace that the node owns; it is durable when the command returns. Until access control exists, the node takes this from its own machine only.\n" +
			"With -replace a namespace is made anew and empty that is missing or quarantined on its owner: what is left of it is set aside, and it becomes another lineage, " +
			"which nodes that follow it take by 'operator namespace accept' only.",
		examples: []string{
			"unisondb operator namespace create orders",
			"unisondb operator namespace create -replace orders",
		},
		writes: true,
	}
}

func (c *operatorNamespaceCreateCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.BoolVar(&c.replace, "replace", false, "Make it anew where its data is lost or unusable.")
}

func (c *operatorNamespaceCreateCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	create := node.CreateNamespace
	if c.replace {
		create = node.ReplaceNamespace
	}
	info, err := create(ctx, args[0])
	if err != nil {
		return err
	}
	return c.printNamespaces(info)
}
