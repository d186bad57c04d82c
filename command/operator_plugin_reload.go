package command

import (
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorPluginReloadCommand struct{ *Meta }

func (c *operatorPluginReloadCommand) spec() spec {
	return spec{
		synopsis: "Start a plugin's program anew",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Looks at a plugin's program again and starts it anew, as after it was replaced by a newer one or repaired; the node goes on. No change is lost: a notifier goes on from its cursor. " +
			"The command returns when the plugin is ready, and fails where it isn't. Configuration files are read again by 'operator reload' instead.",
		examples: []string{
			"unisondb operator plugin reload orders",
		},
	}
}

func (c *operatorPluginReloadCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorPluginReloadCommand) run(ctx context.Context, args []string) error {
	p, err := c.onPlugin(ctx, args[0], (*client.Client).ReloadPlugin)
	if err != nil {
		return err
	}
	if c.asJSON {
		if err := c.printJSON(p); err != nil {
			return err
		}
	}
	if p.State != "ready" {
		return localf("plugin %q is %s: %s", p.Name, p.State, dash(p.Reason))
	}
	if !c.asJSON {
		c.message("Plugin %q is ready: version %s, checksum %s.", p.Name, dash(p.Version), dash(p.SHA256))
	}
	return nil
}
