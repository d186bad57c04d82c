package command

import (
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorPluginInfoCommand struct{ *Meta }

func (c *operatorPluginInfoCommand) spec() spec {
	return spec{
		synopsis: "Show one plugin",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Shows a notifier or data model: its program with version and checksum, its process, and how it does in each namespace. " +
			"The name is that of 'operator plugin list'; a notifier inside a namespace block is called NAMESPACE/TYPE.",
		examples: []string{
			"unisondb operator plugin info orders",
			"unisondb operator plugin info -json default/zeromq",
		},
	}
}

func (c *operatorPluginInfoCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorPluginInfoCommand) run(ctx context.Context, args []string) error {
	p, err := c.onPlugin(ctx, args[0], (*client.Client).Plugin)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(p)
	}
	return c.pluginDetails(p)
}
