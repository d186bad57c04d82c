package command

import (
	"context"
	"flag"
	"strings"
)

type rowPutCommand struct {
	*Meta
	keyFlag
	valueFlag
	writeFlags
}

func (c *rowPutCommand) spec() spec {
	return spec{
		synopsis: "Write columns of a row",
		args:     "ROW COLUMN=VALUE...", minArgs: 2, maxArgs: -1,
		about: "Writes columns of a row, all at once; the row's other columns stay as they are. A value is at most 1 MiB: itself, - for standard input, or @FILE for the bytes of a file.",
		examples: []string{
			"unisondb row put user:1 name=Ada mail=ada@example.com",
			"unisondb row put -if-absent user:2 photo=@photo.jpg",
		},
		writes: true,
	}
}

func (c *rowPutCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.valueFlag.define(fs)
	c.definePut(fs)
}

func (c *rowPutCommand) run(ctx context.Context, args []string) error {
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
	columns, err := c.columns(args[1:])
	if err != nil {
		return err
	}
	p, err := node.Rows().Put(ctx, key, columns, opts...)
	if err != nil {
		return err
	}
	return c.written("Wrote", key, p)
}

// columns reads COLUMN=VALUE arguments. A column's name ends at the first "=".
func (c *rowPutCommand) columns(args []string) (map[string][]byte, error) {
	columns := make(map[string][]byte, len(args))
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usagef("%q is no column: write it as COLUMN=VALUE", arg)
		}
		if _, twice := columns[name]; twice {
			return nil, usagef("column %q is given twice", name)
		}
		var err error
		if columns[name], err = c.value(c.Meta, value, maxColumnValue); err != nil {
			return nil, err
		}
	}
	return columns, nil
}
