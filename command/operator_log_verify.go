package command

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel/inspect"
)

type operatorLogVerifyCommand struct {
	*Meta
	offlineNamespace
}

func (c *operatorLogVerifyCommand) spec() spec {
	return spec{
		synopsis: "Look for damage in a namespace's files",
		about: "Reads all of a namespace's files: meta.json, every frame and record of the log, every cell of the B+tree, and whether they fit together. " + offlineHelp +
			"The exit status is 1 where something is wrong. A torn end, as after a crash, isn't: the next start repairs that.",
		examples: []string{
			"unisondb operator log verify -config=/etc/unisondb -namespace=orders",
			"unisondb operator log verify -path=/srv/unisondb/namespaces/orders -json",
		},
	}
}

func (c *operatorLogVerifyCommand) flags(fs *flag.FlagSet) {
	c.define(fs)
	c.jsonFlag(fs)
}

func (c *operatorLogVerifyCommand) run(ctx context.Context, _ []string) (err error) {
	dir, err := c.open(c.Meta)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	report, err := dir.Verify(ctx, func(r inspect.Report) {
		c.message("The log has %s. Now the B+tree is read: should this process die, that is what is damaged.", count(len(r.Problems)+r.More, "problem"))
	})
	if err != nil {
		return localf("%w", err)
	}
	if err := c.report(report); err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		return &silentError{}
	}
	return nil
}

func (c *operatorLogVerifyCommand) report(r inspect.Report) error {
	if c.asJSON {
		return c.printJSON(r)
	}
	pairs := []string{"Directory", r.Path}
	if r.Quarantine != "" {
		pairs = append(pairs, "Quarantined", r.Quarantine)
	}
	if m := r.Meta; m != nil {
		pairs = append(pairs, "Lineage", m.Lineage, "Engine", m.Engine)
	}
	if l := r.Log; l != nil {
		pairs = append(pairs, "Log", fmt.Sprintf("LSN %d to %d, %s in %s, %s%s",
			l.FirstLSN, l.LastLSN, count(int(l.Records), "record"), count(l.Segments, "segment"), formatBytes(l.Bytes), torn(l.Torn))) //nolint:gosec // less than 2⁶³ records
	}
	if t := r.Tree; t != nil {
		pairs = append(pairs, "B+tree", fmt.Sprintf("LSN %d, %s, %s", t.LSN, count(int(t.Cells), "cell"), formatBytes(t.Bytes))) //nolint:gosec // likewise
	}
	result := "sound"
	if n := len(r.Problems) + r.More; n > 0 {
		result = count(n, "problem")
	}
	if err := c.properties(append(pairs, "Result", result)...); err != nil || len(r.Problems) == 0 {
		return err
	}
	if err := c.print([]byte("\n")); err != nil {
		return err
	}
	l := c.newList("WHERE", "PROBLEM")
	for _, p := range r.Problems {
		if err := l.add(nil, p.Where, p.Problem); err != nil {
			return err
		}
	}
	return l.close(nil)
}

func torn(is bool) string {
	if is {
		return ", torn end"
	}
	return ""
}
