package command

import (
	"context"
	"flag"
	"fmt"
	"time"
)

// defaultGrace is how long a deleted namespace's data is kept aside.
const defaultGrace = 72 * time.Hour

type operatorNamespaceDeleteCommand struct {
	*Meta
	yesFlag
	grace time.Duration
}

func (c *operatorNamespaceDeleteCommand) spec() spec {
	return spec{
		synopsis: "Delete a namespace on all nodes",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Deletes a namespace on all nodes. Each stops serving it, sets aside what it has of it, and removes that when the grace is over; its assignments go with it. The name is free again at once, for another lineage. " +
			"A node that is away does the same when it is back.",
		examples: []string{
			"unisondb operator namespace delete orders",
			"unisondb operator namespace delete -yes -grace=720h orders",
		},
		writes: true,
	}
}

func (c *operatorNamespaceDeleteCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.yesFlag.define(fs)
	fs.DurationVar(&c.grace, "grace", defaultGrace, "How long nodes keep what they have set aside, as a `duration`. Default: 72h.")
}

func (c *operatorNamespaceDeleteCommand) run(ctx context.Context, args []string) error {
	if c.grace < 0 {
		return usagef("-grace=%v is negative: give 0s to remove it at once, or longer", c.grace)
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	ns, err := node.NamespaceInfo(ctx, args[0])
	if err != nil {
		return err
	}
	if err := c.confirm(c.yesFlag, fmt.Sprintf("Namespace %q of %s, at LSN %d, is to be deleted on all nodes. What they have of it is removed %v later.",
		ns.Name, dash(ns.Owner), ns.LSN, c.grace)); err != nil {
		return err
	}
	deleted, err := node.DeleteNamespace(ctx, args[0], c.grace)
	if err != nil {
		return err
	}
	return c.printNamespaces(deleted)
}
