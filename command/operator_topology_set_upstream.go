package command

import (
	"context"
	"flag"
)

type operatorTopologySetUpstreamCommand struct {
	*Meta
	relayer  string
	upstream string
	given    bool
}

func (c *operatorTopologySetUpstreamCommand) spec() spec {
	return spec{
		synopsis: "Say what a relayer follows first",
		about: "Has a relayer get its namespaces from another relayer, or from a certain hub, where that has them; with an empty -upstream from whichever hub it attends. While the upstream is lost the relayer follows a hub. " +
			"A relayer as an upstream needs an address that others reach (listener \"grpc\", advertise), and none may follow itself through others.",
		examples: []string{
			"unisondb operator topology set-upstream -relayer=edge-17 -upstream=edge-1",
			"unisondb operator topology set-upstream -relayer=edge-17 -upstream=",
		},
		writes: true,
	}
}

func (c *operatorTopologySetUpstreamCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.StringVar(&c.relayer, "relayer", "", "The `id` of the relayer.")
	fs.Func("upstream", "The `id` of the node that it follows; empty: whichever hub it attends.", func(s string) error {
		c.upstream, c.given = s, true
		return nil
	})
}

func (c *operatorTopologySetUpstreamCommand) run(ctx context.Context, _ []string) error {
	switch {
	case c.relayer == "":
		return usagef("-relayer is missing: name the relayer")
	case !c.given:
		return usagef("-upstream is missing: name the node to follow, or give it as empty for any hub")
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	t, err := node.SetUpstream(ctx, c.relayer, c.upstream)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(t)
	}
	if c.upstream == "" {
		c.message("Relayer %q follows whichever hub it attends.", c.relayer)
		return nil
	}
	c.message("Relayer %q follows %q first.", c.relayer, c.upstream)
	return nil
}
