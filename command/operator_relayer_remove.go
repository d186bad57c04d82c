package command

import (
	"context"
	"flag"
	"fmt"
)

type operatorRelayerRemoveCommand struct {
	*Meta
	yesFlag
	force bool
}

func (c *operatorRelayerRemoveCommand) spec() spec {
	return spec{
		synopsis: "Take a relayer out for good",
		args:     "ID", minArgs: 1, maxArgs: 1,
		about: "Has the group of hubs forget a relayer, its credential and the assignments that name it: it gets nothing any more, and needs a certificate or a join token to join again. What it has on its disk stays. " +
			"One that is connected, or owns namespaces, is refused unless -force is given: nobody can write to the namespaces of a relayer that is gone.",
		examples: []string{
			"unisondb operator relayer remove edge-17",
			"unisondb operator relayer remove -yes -force edge-17",
		},
		writes: true,
	}
}

func (c *operatorRelayerRemoveCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.yesFlag.define(fs)
	fs.BoolVar(&c.force, "force", false, "Also where it is connected or owns namespaces.")
}

func (c *operatorRelayerRemoveCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	if err := c.confirm(c.yesFlag, fmt.Sprintf("Relayer %q is to be removed for good, with its credential and the assignments that name it.", args[0])); err != nil {
		return err
	}
	if err := node.RemoveRelayer(ctx, args[0], c.force); err != nil {
		return err
	}
	return c.succeeded("Relayer %q is removed.", args[0])
}
