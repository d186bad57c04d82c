package command

import (
	"cmp"
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorRelayerInfoCommand struct {
	*Meta
	staleFlag
}

func (c *operatorRelayerInfoCommand) spec() spec {
	return spec{
		synopsis: "Show one relayer",
		args:     "ID", minArgs: 1, maxArgs: 1,
		about: "Shows a relayer: what it follows, where others reach it, and each of its namespaces with its state and how far it is behind the node that it is streamed from.",
		examples: []string{
			"unisondb operator relayer info edge-17",
			"unisondb operator relayer info -json edge-17",
		},
	}
}

func (c *operatorRelayerInfoCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
}

func (c *operatorRelayerInfoCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	r, err := node.Relayer(ctx, args[0], c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	if c.asJSON {
		return c.printJSON(r)
	}
	return c.show(r)
}

func (c *operatorRelayerInfoCommand) show(r client.Relayer) error {
	state := connection(r.Connected)
	if r.Draining {
		state += ", draining"
	}
	if err := c.properties("Relayer", r.ID, "State", state, "Labels", dash(formatLabels(r.Labels)), "Upstream", dash(r.Upstream),
		"Attends hub", dash(r.Hub), "Address", dash(r.Advertise), "Region", dash(r.Region), "Version", dash(r.Version)); err != nil {
		return err
	}
	var rows [][]string
	for _, ns := range r.Namespaces {
		assigned := "no"
		if ns.Assigned {
			assigned = "yes"
		}
		rows = append(rows, []string{ns.Name, cmp.Or(ns.Role, "replica"), stateOf(ns), assigned, number(ns.LSN), behind(ns), dash(ns.Upstream)})
	}
	if err := c.section(rows, "NAMESPACE", "ROLE", "STATE", "ASSIGNED", "LSN", "LAG", "FROM"); err != nil {
		return err
	}
	return c.namespaceNotes(r.ID, r.Namespaces)
}
