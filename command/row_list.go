package command

import (
	"context"
	"flag"
	"maps"
	"slices"
	"strings"
)

type rowListCommand struct {
	*Meta
	listFlags
	columns stringList
}

func (c *rowListCommand) spec() spec {
	return spec{
		synopsis: "List rows",
		about: "Lists rows in the order of the bytes of their keys, as they arrive. What isn't plain text is quoted and escaped, and long values are cut: -json prints them whole. " +
			"A long list is read page by page, each page at one position.",
		examples: []string{
			"unisondb row list -prefix=user: -column=name",
			"unisondb row list -json -limit=10",
		},
	}
}

func (c *rowListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.listFlags.define(fs)
	fs.Var(&c.columns, "column", "Only this `column`; may be repeated. Rows with none of them are left out. Default: all.")
}

func (c *rowListCommand) run(ctx context.Context, _ []string) error {
	o, opts, err := c.options()
	if err != nil {
		return err
	}
	o.Columns = c.columns
	node, err := c.client()
	if err != nil {
		return err
	}
	l := c.newList("ROW", "COLUMNS")
	for row, err := range node.Rows().List(ctx, o, opts...) {
		if err != nil {
			return l.close(err)
		}
		var cells []string
		for _, name := range slices.Sorted(maps.Keys(row.Columns)) {
			cells = append(cells, readable([]byte(name))+"="+shortened(row.Columns[name]))
		}
		if err := l.add(newJSONRow(row), readable(row.Key), strings.Join(cells, " ")); err != nil {
			return err
		}
	}
	return l.close(nil)
}
