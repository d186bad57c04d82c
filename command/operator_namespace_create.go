package command

import (
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorNamespaceCreateCommand struct {
	*Meta
	namespaceFlags
	owner   string
	replace bool
}

func (c *operatorNamespaceCreateCommand) spec() spec {
	return spec{
		synopsis: "Make a namespace",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Makes a namespace. The hub that is asked owns it, or the one that -owner names; any hub may be asked, and the owner has it durably when the command returns. Until access control exists, a node takes this from its own machine only.\n" +
			"With -replace a namespace is made anew and empty that is missing or quarantined on its owner, which has to be asked: what is left of it is set aside, and it becomes another lineage, " +
			"which nodes that follow it take by 'operator namespace accept' only.",
		examples: []string{
			"unisondb operator namespace create orders",
			"unisondb operator namespace create -owner=hub-eu -hubs=hub-us orders",
			"unisondb operator namespace create -relayers=edge-* -max-bytes=9GiB orders",
			"unisondb operator namespace create -replace orders",
		},
		writes: true,
	}
}

func (c *operatorNamespaceCreateCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.namespaceFlags.define(fs)
	fs.StringVar(&c.owner, "owner", "", "The `id` of the hub that owns it. Default: the one that is asked.")
	fs.BoolVar(&c.replace, "replace", false, "Make it anew where its data is lost or unusable.")
}

func (c *operatorNamespaceCreateCommand) run(ctx context.Context, args []string) error {
	if c.replace && (c.given() || c.owner != "") {
		return usagef("-replace keeps owner and settings: change those by '%s operator namespace set'", Name)
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	info, err := c.make(ctx, node, args[0])
	if err != nil {
		return err
	}
	return c.printNamespaces(info)
}

func (c *operatorNamespaceCreateCommand) make(ctx context.Context, node *client.Client, name string) (client.NamespaceInfo, error) {
	if c.replace {
		return node.ReplaceNamespace(ctx, name)
	}
	return node.CreateNamespace(ctx, name, client.NewNamespace{Owner: c.owner, NamespaceSettings: c.settings()})
}
