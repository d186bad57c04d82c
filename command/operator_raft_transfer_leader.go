package command

import (
	"context"
	"flag"
)

type operatorRaftTransferLeaderCommand struct{ *Meta }

func (c *operatorRaftTransferLeaderCommand) spec() spec {
	return spec{
		synopsis: "Let another hub lead the group",
		args:     "[ID]", maxArgs: 1,
		about: "Lets another hub lead the group: the one with the id, otherwise the one whose state is newest. The control plane stands still for a moment; data doesn't. " +
			"A hub that is stopped properly does this by itself.",
		examples: []string{
			"unisondb operator raft transfer-leader",
			"unisondb operator raft transfer-leader hub-b",
		},
		writes: true,
	}
}

func (c *operatorRaftTransferLeaderCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorRaftTransferLeaderCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	to, who := "", "another hub"
	if len(args) > 0 {
		to, who = args[0], "hub "+args[0]
	}
	if err := node.TransferLeader(ctx, to); err != nil {
		return err
	}
	return c.succeeded("The group's leader is %s.", who)
}
