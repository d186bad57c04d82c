package command

import (
	"context"
	"flag"
)

type operatorNamespaceSetCommand struct {
	*Meta
	namespaceFlags
}

func (c *operatorNamespaceSetCommand) spec() spec {
	return spec{
		synopsis: "Change settings of a namespace",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Changes settings of a namespace that rule all nodes, while it is used. What isn't given stays; what is given as empty is emptied, and without any hubs, relayers and selector every node may follow it again. " +
			"From then on the settings of the same namespace in configuration files count no longer; 'status' warns where they differ.",
		examples: []string{
			"unisondb operator namespace set orders -max-bytes=20GiB",
			"unisondb operator namespace set orders -hubs=hub-b,hub-c -relayers=edge-*",
			"unisondb operator namespace set orders -selector=region=eu -relayers=",
		},
		writes: true,
	}
}

func (c *operatorNamespaceSetCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.namespaceFlags.define(fs)
}

func (c *operatorNamespaceSetCommand) run(ctx context.Context, args []string) error {
	if !c.given() {
		return usagef("nothing to set: give at least one of -acks, -hubs, -relayers, -selector, -max-bytes and -write-bytes-per-second")
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	info, err := node.SetNamespace(ctx, args[0], c.settings())
	if err != nil {
		return err
	}
	return c.printNamespaces(info)
}
