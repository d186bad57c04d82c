package command

import (
	"context"
	"flag"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorRelayerTokenCommand struct {
	*Meta
	ttl     time.Duration
	uses    int
	relayer string
	labels  labelsFlag
}

func (c *operatorRelayerTokenCommand) spec() spec {
	return spec{
		synopsis: "Make a join token for relayers",
		about: "Makes a join token, by which relayers that have no certificate join the group of hubs: they are given a credential of their own then. It goes into join_token of the relayer's upstream block, best as file(\"…\"). " +
			"The token is printed once, on standard output; the hubs keep a hash. 'operator relayer token list' lists those that can still be used, and 'operator relayer token revoke' ends one.",
		examples: []string{
			"unisondb operator relayer token > join.token",
			"unisondb operator relayer token -ttl=1h -uses=40 -relayer=store-*",
			"unisondb operator relayer token -relayer=edge-17 -labels=region=eu -json",
		},
		writes: true,
	}
}

func (c *operatorRelayerTokenCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.DurationVar(&c.ttl, "ttl", time.Hour, "How long it can be used, as a `duration`. Default: 1h.")
	fs.IntVar(&c.uses, "uses", 1, "How many relayers may join by it, as a `number`. Default: 1.")
	fs.StringVar(&c.relayer, "relayer", "", "The `id` of the relayer that may use it, or a pattern of ids. Default: any.")
	fs.Var(&c.labels, "labels", "The `labels` that its users get, as region=eu, whatever they say of themselves.")
}

func (c *operatorRelayerTokenCommand) run(ctx context.Context, _ []string) error {
	switch {
	case c.ttl <= 0:
		return usagef("-ttl=%v is not in the future: give a positive duration", c.ttl)
	case c.uses < 1:
		return usagef("-uses=%d is no number of relayers: give 1 or more", c.uses)
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	t, err := node.CreateJoinToken(ctx, client.NewJoinToken{TTL: c.ttl, Uses: c.uses, Relayer: c.relayer, Labels: c.labels})
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(t)
	}
	if err := c.print([]byte(t.Token + "\n")); err != nil {
		return err
	}
	c.message("Token %s can be used until %s by %s. It can't be shown again.", t.ID, formatExpiry(t.Expires), count(t.Uses, "relayer"))
	return nil
}
