package command

import (
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

type rowDeleteCommand struct {
	*Meta
	keyFlag
	writeFlags
	columns stringList
}

func (c *rowDeleteCommand) spec() spec {
	return spec{
		synopsis: "Delete a row or some of its columns",
		args:     "ROW", minArgs: 1, maxArgs: 1,
		about: "Deletes a row, or with -column only those columns. It succeeds, too, where the row is absent, unless a condition says otherwise.",
		examples: []string{
			"unisondb row delete user:1",
			"unisondb row delete -column=mail -column=phone user:1",
		},
		writes: true,
	}
}

func (c *rowDeleteCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.writeFlags.define(fs)
	fs.Var(&c.columns, "column", "Only this `column`; may be repeated. Default: the whole row.")
}

func (c *rowDeleteCommand) run(ctx context.Context, args []string) error {
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
	var p client.Position
	if len(c.columns) > 0 {
		p, err = node.Rows().DeleteColumns(ctx, key, c.columns, opts...)
	} else {
		p, err = node.Rows().Delete(ctx, key, opts...)
	}
	if err != nil {
		return err
	}
	return c.written("Deleted", key, p)
}
