package command

import (
	"context"
	"flag"
)

type kvDeleteCommand struct {
	*Meta
	keyFlag
	writeFlags
}

func (c *kvDeleteCommand) spec() spec {
	return spec{
		synopsis: "Delete a key",
		args:     "KEY", minArgs: 1, maxArgs: 1,
		about: "Deletes a key. It succeeds, too, where the key is absent, unless a condition says otherwise.",
		examples: []string{
			"unisondb kv delete greeting",
			"unisondb kv delete -if-exists greeting",
		},
		writes: true,
	}
}

func (c *kvDeleteCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.writeFlags.define(fs)
}

func (c *kvDeleteCommand) run(ctx context.Context, args []string) error {
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
	p, err := node.KV().Delete(ctx, key, opts...)
	if err != nil {
		return err
	}
	return c.written("Deleted", key, p)
}
