package command

import (
	"context"
	"flag"
	"io"
)

type operatorSnapshotSaveCommand struct{ *Meta }

func (c *operatorSnapshotSaveCommand) spec() spec {
	return spec{
		synopsis: "Save the control plane's state",
		args:     "FILE", minArgs: 1, maxArgs: 1,
		about: "Saves what the group of hubs agrees on to a file: hubs, namespaces, relayers, assignments, plugins and the hashes of tokens, and no data. The file appears, or is replaced, when it is complete and was read back. " +
			"Only its owner may read it, because plugins may have secrets in their configuration.",
		examples: []string{
			"unisondb operator snapshot save topology.snap",
		},
	}
}

func (c *operatorSnapshotSaveCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *operatorSnapshotSaveCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	ctx, stop := c.untilInterrupted(ctx)
	defer stop()
	var found snapshotSummary
	err = writeSecretFile(args[0], func(w io.Writer) error {
		found, err = inspectWhile(w, func(w io.Writer) error {
			_, err := node.SaveSnapshot(ctx, w)
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(found.in(args[0]))
	}
	c.message("Saved the state of index %d to %s, %s.", found.Index, args[0], formatBytes(found.Bytes))
	return nil
}
