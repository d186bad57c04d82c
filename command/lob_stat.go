package command

import (
	"context"
	"flag"
	"fmt"

	"github.com/unisondb/unisondb/sdk/client"
)

type lobStatCommand struct {
	*Meta
	keyFlag
	readFlags
}

func (c *lobStatCommand) spec() spec {
	return spec{
		synopsis: "Describe a large object",
		args:     "KEY", minArgs: 1, maxArgs: 1,
		about: "Prints an object's size, checksum, version and expiry without reading it. The status is 1 where the object is absent.",
		examples: []string{
			"unisondb lob stat film",
			"unisondb lob stat -json film",
		},
	}
}

func (c *lobStatCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.readFlags.define(fs)
}

func (c *lobStatCommand) run(ctx context.Context, args []string) error {
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
	o, err := node.Objects().Stat(ctx, key, opts...)
	if err != nil {
		return absent(err, "object", key, node)
	}
	if c.asJSON {
		return c.printJSON(struct {
			jsonObject
			Position client.Position `json:"position"`
		}{newJSONObject(o), o.Position})
	}
	sum := "unknown"
	if o.CRC32 != nil {
		sum = fmt.Sprintf("%08x", *o.CRC32)
	}
	return c.properties(
		"Key", readable(o.Key),
		"Size", fmt.Sprintf("%d (%s)", o.Size, formatBytes(o.Size)),
		"CRC-32", sum,
		"Version", o.Version,
		"Expires", formatExpiry(o.ExpiresAt),
		"Position", o.Position.String(),
	)
}
