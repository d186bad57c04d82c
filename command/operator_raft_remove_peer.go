package command

import (
	"context"
	"flag"
	"fmt"
)

type operatorRaftRemovePeerCommand struct {
	*Meta
	yesFlag
}

func (c *operatorRaftRemovePeerCommand) spec() spec {
	return spec{
		synopsis: "Take a hub out of the group",
		args:     "ID", minArgs: 1, maxArgs: 1,
		about: "Takes a hub out of the group for good, as one whose machine is lost; one that only stops leaves by itself or is waited for. Namespaces that it owns stay its own: nobody takes writes for them until it is back. " +
			"The last hub with a vote can't be removed. A hub that is wiped is another one: it joins anew.",
		examples: []string{
			"unisondb operator raft remove-peer hub-c",
			"unisondb operator raft remove-peer -yes hub-c",
		},
		writes: true,
	}
}

func (c *operatorRaftRemovePeerCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.yesFlag.define(fs)
}

func (c *operatorRaftRemovePeerCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	if err := c.confirm(c.yesFlag, fmt.Sprintf("Hub %q is to leave the group for good.", args[0])); err != nil {
		return err
	}
	if err := node.RemoveRaftPeer(ctx, args[0]); err != nil {
		return err
	}
	return c.succeeded("Hub %q is no member of the group any more.", args[0])
}
