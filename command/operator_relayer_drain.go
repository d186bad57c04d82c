package command

import (
	"context"
	"flag"
)

type operatorRelayerDrainCommand struct {
	*Meta
	undo bool
}

func (c *operatorRelayerDrainCommand) spec() spec {
	return spec{
		synopsis: "Prepare a relayer's end",
		args:     "ID", minArgs: 1, maxArgs: 1,
		about: "Prepares a relayer's end, as before its machine is stopped for long: it keeps and serves what it has and gets nothing new, and relayers that followed it follow a hub. -undo takes that back.",
		examples: []string{
			"unisondb operator relayer drain edge-1",
			"unisondb operator relayer drain -undo edge-1",
		},
		writes: true,
	}
}

func (c *operatorRelayerDrainCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.BoolVar(&c.undo, "undo", false, "Let it take part again.")
}

func (c *operatorRelayerDrainCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	r, err := node.DrainRelayer(ctx, args[0], c.undo)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(r)
	}
	if c.undo {
		c.message("Relayer %q takes part again.", r.ID)
		return nil
	}
	c.message("Relayer %q gets nothing new, and those that followed it follow a hub.", r.ID)
	return nil
}
