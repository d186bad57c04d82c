package command

import (
	"context"
	"flag"
)

type operatorRelayerListCommand struct {
	*Meta
	staleFlag
}

func (c *operatorRelayerListCommand) spec() spec {
	return spec{
		synopsis: "List relayers",
		about: "Lists the relayers that have joined the group of hubs: what they follow, whether a hub hears of them, how many namespaces they have or are to have, and the lag of the one that is furthest behind. " +
			"'operator relayer info' shows each namespace.",
		examples: []string{
			"unisondb operator relayer list",
			"unisondb operator relayer list -json",
		},
	}
}

func (c *operatorRelayerListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
}

func (c *operatorRelayerListCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	all, err := node.Relayers(ctx, c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	return c.printRelayers(all...)
}
