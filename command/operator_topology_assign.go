package command

import (
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorTopologyAssignCommand struct {
	*Meta
	assignmentFlags
}

func (c *operatorTopologyAssignCommand) spec() spec {
	return spec{
		synopsis: "Give a namespace to relayers",
		about: "Gives a namespace to one relayer, to those whose ids match a pattern, or to those that have all labels of a selector, those that join later included. They take it at once, and it doesn't matter whether the namespace's settings name them. " +
			"The change is made when the command returns; 'operator topology show' shows how far the data is.",
		examples: []string{
			"unisondb operator topology assign -namespace=orders -relayer=edge-17",
			"unisondb operator topology assign -namespace=orders -selector=tier=store",
		},
		writes: true,
	}
}

func (c *operatorTopologyAssignCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.assignmentFlags.define(fs)
}

func (c *operatorTopologyAssignCommand) run(ctx context.Context, _ []string) error {
	return c.changeAssignment(ctx, &c.assignmentFlags, (*client.Client).Assign, "Namespace %q goes to %s.")
}
