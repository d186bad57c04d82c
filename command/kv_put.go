package command

import (
	"context"
	"flag"
)

type kvPutCommand struct {
	*Meta
	keyFlag
	valueFlag
	writeFlags
}

func (c *kvPutCommand) spec() spec {
	return spec{
		synopsis: "Write the value of a key",
		args:     "KEY VALUE", minArgs: 2, maxArgs: 2,
		about: "Writes a value of up to 8 MiB. VALUE is the value itself, - for standard input, or @FILE for the bytes of a file. " +
			"A key that had an expiry loses it unless -ttl is given.",
		examples: []string{
			"unisondb kv put greeting hello",
			"unisondb kv put -ttl=30s session:7 @session.json",
			"date | unisondb kv put -if-absent first-start -",
		},
		writes: true,
	}
}

func (c *kvPutCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.valueFlag.define(fs)
	c.definePut(fs)
}

func (c *kvPutCommand) run(ctx context.Context, args []string) error {
	key, err := c.key(args[0])
	if err != nil {
		return err
	}
	opts, err := c.writeFlags.options()
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	value, err := c.value(c.Meta, args[1], maxValue)
	if err != nil {
		return err
	}
	p, err := node.KV().Put(ctx, key, value, opts...)
	if err != nil {
		return err
	}
	return c.written("Wrote", key, p)
}
