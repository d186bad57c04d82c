package command

import (
	"context"
	"flag"
)

type operatorNamespaceAcceptCommand struct {
	*Meta
	lineage string
}

func (c *operatorNamespaceAcceptCommand) spec() spec {
	return spec{
		synopsis: "Let a replica take another lineage",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Lets a namespace that the node follows become one of another lineage, as after it was deleted and made again, or restored, on its owner: a replica never does that by itself. " +
			"What the node has stays readable until the new lineage is complete, and is set aside then. The lineage is what 'status' shows on the owner. It is remembered until it has come, also while the source can't be reached.",
		examples: []string{
			"unisondb operator namespace accept orders -lineage=$LINEAGE",
		},
		writes: true,
	}
}

func (c *operatorNamespaceAcceptCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.StringVar(&c.lineage, "lineage", "", "The `id` of the lineage: 32 hexadecimal digits.")
}

func (c *operatorNamespaceAcceptCommand) run(ctx context.Context, args []string) error {
	if c.lineage == "" {
		return usagef("-lineage is missing: give the lineage that 'status' shows on the owner")
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	if err := node.AcceptLineage(ctx, args[0], c.lineage); err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(struct {
			Success bool `json:"success"`
		}{true})
	}
	c.message("Namespace %q takes lineage %s from its upstream, as soon as that has it.", args[0], c.lineage)
	return nil
}
