package command

import (
	"context"
	"flag"
)

type operatorPluginDeadLettersRetryCommand struct{ *Meta }

func (c *operatorPluginDeadLettersRetryCommand) spec() spec {
	return spec{
		synopsis: "Send a notifier's dead letters again",
		args:     "NAME [ID]…", minArgs: 1, maxArgs: -1,
		about: "Has a notifier send its dead letters again, in their order: those with the ids that 'list' shows, or all. Those that are accepted are dead letters no longer; the command fails where some are left. " +
			theNotifier + " So the receiver may have newer events of the same key already: it sees that by their LSN.",
		examples: []string{
			"unisondb operator plugin dead-letters retry orders",
			"unisondb operator plugin dead-letters retry orders 1f-0 20-3",
		},
		writes: true,
	}
}

func (c *operatorPluginDeadLettersRetryCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorPluginDeadLettersRetryCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	accepted, left, err := node.RetryDeadLetters(ctx, args[0], args[1:]...)
	if err != nil {
		return err
	}
	if c.asJSON {
		err = c.printJSON(struct {
			Accepted int `json:"accepted"`
			Left     int `json:"left"`
		}{accepted, left})
	} else {
		c.message("%s accepted.", count(accepted, "dead letter"))
	}
	if err == nil && left > 0 {
		err = localf("%s left: '%s operator plugin dead-letters list %s' says why", count(left, "dead letter"), Name, args[0])
	}
	return err
}
