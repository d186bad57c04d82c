package command

import (
	"context"
	"flag"
)

type lobDeleteCommand struct {
	*Meta
	keyFlag
	writeFlags
}

func (c *lobDeleteCommand) spec() spec {
	return spec{
		synopsis: "Delete a large object",
		args:     "KEY", minArgs: 1, maxArgs: 1,
		about: "Deletes an object. Reads of it that are under way go on. It succeeds, too, where the object is absent, unless a condition says otherwise.",
		examples: []string{
			"unisondb lob delete film",
			"unisondb lob delete -if-exists film",
		},
		writes: true,
	}
}

func (c *lobDeleteCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.writeFlags.define(fs)
}

func (c *lobDeleteCommand) run(ctx context.Context, args []string) error {
	key, err := c.key(args[0])
	if err != nil {
		return err
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	p, err := node.Objects().Delete(ctx, key, opts...)
	if err != nil {
		return err
	}
	return c.written("Deleted", key, p)
}
