package command

import (
	"context"
	"flag"
)

type operatorRelayerTokenListCommand struct {
	*Meta
	staleFlag
}

func (c *operatorRelayerTokenListCommand) spec() spec {
	return spec{
		synopsis: "List join tokens",
		about:    "Lists the join tokens that can still be used. Their secrets can't be shown: the hubs have only hashes of them.",
		examples: []string{
			"unisondb operator relayer token list",
			"unisondb operator relayer token list -json",
		},
	}
}

func (c *operatorRelayerTokenListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
}

func (c *operatorRelayerTokenListCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	all, err := node.JoinTokens(ctx, c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	l := c.newList("TOKEN", "EXPIRES", "USES LEFT", "RELAYERS", "LABELS")
	for _, t := range all {
		relayers := t.Relayer
		if relayers == "" {
			relayers = "any"
		}
		if err := l.add(t, t.ID, formatExpiry(t.Expires), number(uint64(max(0, t.Uses))), relayers, dash(formatLabels(t.Labels))); err != nil {
			return err
		}
	}
	return l.close(nil)
}
