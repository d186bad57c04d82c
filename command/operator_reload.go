package command

import (
	"context"
	"flag"
)

type operatorReloadCommand struct{ *Meta }

func (c *operatorReloadCommand) spec() spec {
	return spec{
		synopsis: "Have a node read its configuration again",
		about: "Has the node read its configuration files again, as SIGHUP does: all or nothing. Notifiers, models and the level of the log change while the node runs. " +
			"A change to any other key is refused, with the old and the new value and where it stands, and then nothing changes: it needs a restart. TLS files are picked up by themselves.",
		examples: []string{
			"unisondb operator reload",
		},
	}
}

func (c *operatorReloadCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorReloadCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	changed, err := node.Reload(ctx)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(struct {
			Success bool     `json:"success"`
			Changed []string `json:"changed"`
		}{true, append([]string{}, changed...)})
	}
	if len(changed) == 0 {
		c.message("The configuration says what it said before.")
		return nil
	}
	for _, change := range changed {
		c.message("%s", change)
	}
	return nil
}
