package command

import (
	"context"
	"flag"
)

type operatorRelayerTokenRevokeCommand struct{ *Meta }

func (c *operatorRelayerTokenRevokeCommand) spec() spec {
	return spec{
		synopsis: "Make a join token useless",
		args:     "TOKEN-ID", minArgs: 1, maxArgs: 1,
		about: "Makes a join token useless, by the id that 'operator relayer token list' shows. Relayers that have joined by it stay: 'operator relayer remove' takes one out.",
		examples: []string{
			"unisondb operator relayer token revoke c2b7kq3a",
		},
		writes: true,
	}
}

func (c *operatorRelayerTokenRevokeCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorRelayerTokenRevokeCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	if err := node.RevokeJoinToken(ctx, args[0]); err != nil {
		return err
	}
	return c.succeeded("Join token %s can't be used any more.", args[0])
}
