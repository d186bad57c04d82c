package command

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

type kvGetCommand struct {
	*Meta
	keyFlag
	readFlags
}

func (c *kvGetCommand) spec() spec {
	return spec{
		synopsis: "Print the value of a key",
		args:     "KEY", minArgs: 1, maxArgs: 1,
		about: "Prints a key's value as it is. On a terminal a line break follows it. The status is 1 where the key is absent.",
		examples: []string{
			"unisondb kv get greeting",
			"unisondb kv get -json greeting",
			"unisondb kv get -key-base64 /wA= > value",
		},
	}
}

func (c *kvGetCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.readFlags.define(fs)
}

func (c *kvGetCommand) run(ctx context.Context, args []string) error {
	key, err := c.key(args[0])
	if err != nil {
		return err
	}
	opts, err := c.readFlags.options()
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	v, err := node.KV().Get(ctx, key, opts...)
	if err != nil {
		return absent(err, "key", key, node)
	}
	if c.asJSON {
		return c.printJSON(struct {
			jsonKey
			Value     []byte          `json:"value"`
			Version   string          `json:"version"`
			ExpiresAt *time.Time      `json:"expires_at,omitempty"`
			Position  client.Position `json:"position"`
		}{newJSONKey(key), v.Data, v.Version, jsonTime(v.ExpiresAt), v.Position})
	}
	if c.terminalWidth(c.stdout) > 0 && !bytes.HasSuffix(v.Data, []byte("\n")) {
		v.Data = append(v.Data, '\n')
	}
	return c.print(v.Data)
}

// absent names what isn't there: the node knows it only as "no such key".
func absent(err error, what string, key []byte, node *client.Client) error {
	if errors.Is(err, client.ErrNotFound) {
		return localf("there is no %s %s in namespace %q", what, quoted(key), node.Namespace())
	}
	return err
}
