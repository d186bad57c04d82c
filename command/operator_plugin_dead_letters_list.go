package command

import (
	"context"
	"encoding/json"
	"flag"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorPluginDeadLettersListCommand struct{ *Meta }

func (c *operatorPluginDeadLettersListCommand) spec() spec {
	return spec{
		synopsis: "List a notifier's dead letters",
		args:     "NAME", minArgs: 1, maxArgs: 1,
		about: "Lists the dead letters of a notifier, the oldest first. " + theNotifier + " With -json each comes with its event as it would have been sent.",
		examples: []string{
			"unisondb operator plugin dead-letters list orders",
			"unisondb operator plugin dead-letters list -json orders",
		},
	}
}

func (c *operatorPluginDeadLettersListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorPluginDeadLettersListCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	all, err := node.DeadLetters(ctx, args[0])
	if err != nil {
		return err
	}
	l := c.newList("ID", "NAMESPACE", "OPERATION", "KEY", "LSN", "REFUSALS", "LAST", "REASON")
	for _, letter := range all {
		e, err := deadEvent(letter)
		if err != nil {
			return err
		}
		if err := l.add(letter, letter.ID, letter.Namespace, e.Operation, e.key(), number(e.LSN),
			number(uint64(max(0, letter.Refusals))), letter.Last.UTC().Format(time.RFC3339), readable([]byte(letter.Reason))); err != nil {
			return err
		}
	}
	return l.close(nil)
}

// letterEvent is what people see of a dead letter's event.
type letterEvent struct {
	jsonKey
	Operation string `json:"operation"`
	LSN       uint64 `json:"lsn"`
}

func deadEvent(letter client.DeadLetter) (letterEvent, error) {
	var e letterEvent
	if err := json.Unmarshal(letter.Event, &e); err != nil {
		return e, localf("read the event of dead letter %s: %w", letter.ID, err)
	}
	return e, nil
}

func (e letterEvent) key() string {
	if e.Key != nil {
		return shortened([]byte(*e.Key))
	}
	return shortened(e.KeyBase64)
}
