package command

import (
	"context"
	"flag"
	"maps"
	"slices"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

type rowGetCommand struct {
	*Meta
	keyFlag
	readFlags
	columns stringList
	raw     string
}

func (c *rowGetCommand) spec() spec {
	return spec{
		synopsis: "Print a row",
		args:     "ROW", minArgs: 1, maxArgs: 1,
		about: "Prints the columns of a row, in the order of their names. What isn't plain text is quoted and escaped. The status is 1 where the row is absent.",
		examples: []string{
			"unisondb row get user:1",
			"unisondb row get -column=name -column=mail user:1",
			"unisondb row get -raw=photo user:1 > photo.jpg",
		},
	}
}

func (c *rowGetCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.readFlags.define(fs)
	fs.Var(&c.columns, "column", "Only this `column`; may be repeated. Default: all.")
	fs.StringVar(&c.raw, "raw", "", "Print the value of this one `column` as it is.")
}

func (c *rowGetCommand) run(ctx context.Context, args []string) error {
	key, err := c.key(args[0])
	if err != nil {
		return err
	}
	columns := []string(c.columns)
	if c.raw != "" {
		if len(columns) > 0 || c.asJSON {
			return usagef("-raw prints one column as it is: leave -column and -json out")
		}
		columns = []string{c.raw}
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	row, err := node.Rows().Get(ctx, key, columns, opts...)
	if err != nil {
		return absent(err, "row", key, node)
	}
	return c.show(row)
}

func (c *rowGetCommand) show(row client.Row) error {
	if c.raw != "" {
		value, ok := row.Columns[c.raw]
		if !ok {
			return localf("row %s has no column %q", quoted(row.Key), c.raw)
		}
		return c.print(value)
	}
	if c.asJSON {
		return c.printJSON(struct {
			jsonRow
			Position client.Position `json:"position"`
		}{newJSONRow(row), row.Position})
	}
	l := c.newList("COLUMN", "VALUE")
	for _, name := range slices.Sorted(maps.Keys(row.Columns)) {
		if err := l.add(nil, readable([]byte(name)), readable(row.Columns[name])); err != nil {
			return err
		}
	}
	return l.close(nil)
}

// jsonRow is a row in JSON, in the form of the API.
type jsonRow struct {
	RowKey       *string           `json:"rowKey,omitempty"`
	RowKeyBase64 []byte            `json:"row_key_base64,omitempty"`
	Columns      map[string][]byte `json:"columns"`
	Version      string            `json:"version"`
	ExpiresAt    *time.Time        `json:"expires_at,omitempty"`
}

func newJSONRow(row client.Row) jsonRow {
	key := newJSONKey(row.Key)
	return jsonRow{RowKey: key.Key, RowKeyBase64: key.KeyBase64, Columns: row.Columns, Version: row.Version, ExpiresAt: jsonTime(row.ExpiresAt)}
}
