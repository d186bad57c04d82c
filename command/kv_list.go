package command

import (
	"context"
	"flag"
	"time"
)

type kvListCommand struct {
	*Meta
	listFlags
	keysOnly bool
}

func (c *kvListCommand) spec() spec {
	return spec{
		synopsis: "List keys and values",
		about: "Lists keys in the order of their bytes, with their values, as they arrive. What isn't plain text is quoted and escaped, and long values are cut: -json prints them whole. " +
			"A long list is read page by page, each page at one position.",
		examples: []string{
			"unisondb kv list -prefix=user:",
			"unisondb kv list -keys-only -start=a -end=b -limit=10",
			"unisondb kv list -json -reverse",
		},
	}
}

func (c *kvListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.listFlags.define(fs)
	fs.BoolVar(&c.keysOnly, "keys-only", false, "Leave the values out: one key a line.")
}

func (c *kvListCommand) run(ctx context.Context, _ []string) error {
	o, opts, err := c.options()
	if err != nil {
		return err
	}
	o.KeysOnly = c.keysOnly
	node, err := c.client()
	if err != nil {
		return err
	}
	type item struct {
		jsonKey
		Value     *[]byte    `json:"value,omitempty"`
		Version   string     `json:"version"`
		ExpiresAt *time.Time `json:"expires_at,omitempty"`
	}
	columns := []string{"KEY", "VALUE"}
	if c.keysOnly {
		columns = nil
	}
	l := c.newList(columns...)
	for it, err := range node.KV().List(ctx, o, opts...) {
		if err != nil {
			return l.close(err)
		}
		out := item{jsonKey: newJSONKey(it.Key), Version: it.Version, ExpiresAt: jsonTime(it.ExpiresAt)}
		cells := []string{readable(it.Key)}
		if !c.keysOnly {
			out.Value = &it.Value
			cells = append(cells, shortened(it.Value))
		}
		if err := l.add(out, cells...); err != nil {
			return err
		}
	}
	return l.close(nil)
}
