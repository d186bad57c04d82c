package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/unisondb/unisondb/dbkernel/inspect"
)

type operatorLogDumpCommand struct {
	*Meta
	offlineNamespace
	from, to uint64
	key      string
}

func (c *operatorLogDumpCommand) spec() spec {
	return spec{
		synopsis: "Print a namespace's log",
		about: "Prints the records of a namespace's log, each with what it does, oldest first. " + offlineHelp +
			"Where the log is damaged it says so, goes on behind the damage, and exits with status 1.\n" +
			"\n" +
			"-key names a key, a row or a large object; what else the records do is left out then. With -json, values are whole, in base64; in the table they are cut short.",
		examples: []string{
			"unisondb operator log dump -config=/etc/unisondb -namespace=orders",
			"unisondb operator log dump -data-dir=/srv/unisondb -from=1200 -to=1300",
			"unisondb operator log dump -data-dir=/srv/unisondb -key=order:17 -json",
		},
	}
}

func (c *operatorLogDumpCommand) flags(fs *flag.FlagSet) {
	c.define(fs)
	c.jsonFlag(fs)
	fs.Uint64Var(&c.from, "from", 0, "Begin with the record of this `LSN`.")
	fs.Uint64Var(&c.to, "to", 0, "End with the record of this `LSN`.")
	fs.StringVar(&c.key, "key", "", "Only what was done to this `key`, row or large object.")
}

func (c *operatorLogDumpCommand) run(ctx context.Context, _ []string) (err error) {
	if c.to != 0 && c.to < c.from {
		return usagef("-to=%d lies in front of -from=%d", c.to, c.from)
	}
	dir, err := c.open(c.Meta)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	filter := inspect.Filter{From: c.from, To: c.to}
	if c.key != "" {
		filter.Key = []byte(c.key)
	}
	l := c.newList("LSN", "EPOCH", "TIME", "OPERATION", "MODEL", "KEY", "VALUE")
	damaged := false
	err = dir.Dump(ctx, filter, func(r inspect.Record) error {
		return l.add(r, c.rows(r)...)
	}, func(problem error) {
		damaged = true
		c.message("Damaged: %v", problem)
	})
	if err != nil {
		err = localf("%w", err)
	}
	if err := l.close(err); err != nil {
		return err
	}
	if damaged {
		c.message("Error: the log is damaged. '%s operator log verify' says more.", Name)
		return &silentError{}
	}
	return nil
}

// shownValue is how many bytes of a value the table shows.
const shownValue = 40

// rows are the cells of a record's operations, as one line each would have them: the
// list aligns what comes, so that line breaks stand between operations.
func (c *operatorLogDumpCommand) rows(r inspect.Record) []string {
	head := []string{number(r.LSN), number(r.Epoch), r.Time}
	if len(r.Ops) == 0 {
		return append(head, r.Kind, "", "", r.Damage)
	}
	var lines []string
	for i, op := range r.Ops {
		cells := []string{op.Op, op.Model, dumpedKey(op), dumpedValue(op)}
		if i == 0 {
			cells = append(head, cells...)
		} else {
			cells = append([]string{"", "", ""}, cells...)
		}
		lines = append(lines, strings.Join(cells, "\t"))
	}
	return []string{strings.Join(lines, "\n")}
}

func dumpedKey(op inspect.Op) string {
	key := ""
	switch {
	case op.Key != nil:
		key = readable([]byte(*op.Key))
	case op.KeyBase64 != nil:
		key = readable(op.KeyBase64)
	case op.Object != "":
		key = op.Object
	}
	if op.Column != nil {
		key += " " + readable([]byte(*op.Column))
	}
	if op.Chunk != nil {
		key += fmt.Sprintf(" chunk %d", *op.Chunk)
	}
	return key
}

func dumpedValue(op inspect.Op) string {
	switch {
	case op.Value != nil && len(*op.Value) > shownValue:
		return fmt.Sprintf("%s… (%s)", readable((*op.Value)[:shownValue]), formatBytes(int64(len(*op.Value))))
	case op.Value != nil:
		return readable(*op.Value)
	case op.Size != nil:
		return formatBytes(int64(*op.Size)) //nolint:gosec // an object has at most a TiB
	case op.TargetLSN != 0:
		return fmt.Sprintf("of LSN %d", op.TargetLSN)
	}
	return ""
}
