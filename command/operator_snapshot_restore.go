package command

import (
	"context"
	"flag"
	"fmt"
)

type operatorSnapshotRestoreCommand struct {
	*Meta
	yesFlag
	force bool
}

func (c *operatorSnapshotRestoreCommand) spec() spec {
	return spec{
		synopsis: "Restore the control plane's state",
		args:     "FILE", minArgs: 1, maxArgs: 1,
		about: "Puts the state of a file of 'operator snapshot save' in the place of what the group of hubs agrees on. Who the hubs are stays; every other change since then is undone. " +
			"No data is restored. A snapshot of another group is refused unless -force is given.",
		examples: []string{
			"unisondb operator snapshot restore topology.snap",
			"unisondb operator snapshot restore -yes -force topology.snap",
		},
		writes: true,
	}
}

func (c *operatorSnapshotRestoreCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.yesFlag.define(fs)
	fs.BoolVar(&c.force, "force", false, "Take the snapshot of another group, too.")
}

func (c *operatorSnapshotRestoreCommand) run(ctx context.Context, args []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	found, err := inspectSnapshot(args[0])
	if err != nil {
		return err
	}
	if err := c.confirm(c.yesFlag, fmt.Sprintf("The state of index %d of group %s, with %s and %s, is to take the place of what the group at %s agrees on.",
		found.Index, found.Cluster, count(found.Namespaces, "namespace"), count(found.Relayers, "relayer"), node.Address())); err != nil {
		return err
	}
	file, err := openFile(args[0])
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read
	if err := node.RestoreSnapshot(ctx, file, found.Bytes, c.force); err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(found.in(args[0]))
	}
	c.message("Restored the state of index %d.", found.Index)
	return nil
}
