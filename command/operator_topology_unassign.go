package command

import (
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorTopologyUnassignCommand struct {
	*Meta
	assignmentFlags
}

func (c *operatorTopologyUnassignCommand) spec() spec {
	return spec{
		synopsis: "Take back an assignment",
		about: "Takes back what 'operator topology assign' gave, with the same flags. Relayers that get the namespace by nothing else stop following it and set aside what they have of it. " +
			"What the namespace's settings give stays: 'operator namespace set' changes those.",
		examples: []string{
			"unisondb operator topology unassign -namespace=orders -relayer=edge-17",
			"unisondb operator topology unassign -namespace=orders -selector=region=eu",
		},
		writes: true,
	}
}

func (c *operatorTopologyUnassignCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.assignmentFlags.define(fs)
}

func (c *operatorTopologyUnassignCommand) run(ctx context.Context, _ []string) error {
	return c.changeAssignment(ctx, &c.assignmentFlags, (*client.Client).Unassign, "Namespace %q is no longer assigned to %s.")
}
