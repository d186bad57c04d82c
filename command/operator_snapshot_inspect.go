package command

import (
	"context"
	"errors"
	"flag"
	"io"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/unisondb/unisondb/server/topology"
)

type operatorSnapshotInspectCommand struct{ *Meta }

func (c *operatorSnapshotInspectCommand) spec() spec {
	return spec{
		synopsis: "Check and describe a saved snapshot",
		args:     "FILE", minArgs: 1, maxArgs: 1,
		about: "Checks a file of 'operator snapshot save' and says what is in it: which group it is of, up to which change, and how much of what. No node is asked. The exit status is 1 where the file is damaged, or of a version that this one can't read.",
		examples: []string{
			"unisondb operator snapshot inspect topology.snap",
			"unisondb operator snapshot inspect -json topology.snap",
		},
	}
}

func (c *operatorSnapshotInspectCommand) flags(fs *flag.FlagSet) { c.jsonFlag(fs) }

func (c *operatorSnapshotInspectCommand) run(_ context.Context, args []string) error {
	found, err := inspectSnapshot(args[0])
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(found.in(args[0]))
	}
	return c.properties("File", args[0], "Size", formatBytes(found.Bytes), "Format", strconv.Itoa(found.Format),
		"Written by", "version "+dash(found.Writer), "Readable from", "command "+number(uint64(found.MinReader)), "Group", dash(found.Cluster), "State", "index "+number(found.Index),
		"Hubs", strconv.Itoa(found.Hubs), "Namespaces", strconv.Itoa(found.Namespaces), "Deleted namespaces", strconv.Itoa(found.Deleted),
		"Relayers", strconv.Itoa(found.Relayers), "Assignments", strconv.Itoa(found.Assignments), "Plugins", strconv.Itoa(found.Plugins), "Join tokens", strconv.Itoa(found.Tokens))
}

// snapshotSummary is what is known of a snapshot without its content.
type snapshotSummary struct{ topology.SnapshotInfo }

// snapshotFile is a summary with the file that it is of, as it is printed.
type snapshotFile struct {
	Path string `json:"path"`
	topology.SnapshotInfo
}

func (s snapshotSummary) in(path string) snapshotFile { return snapshotFile{path, s.SnapshotInfo} }

// inspectSnapshot reads and checks a file.
func inspectSnapshot(name string) (snapshotSummary, error) {
	file, err := openFile(name)
	if err != nil {
		return snapshotSummary{}, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := topology.InspectSnapshot(file)
	if err != nil {
		return snapshotSummary{}, localf("%s: %w", name, err)
	}
	return snapshotSummary{info}, nil
}

// inspectWhile lets save write a snapshot to w, and checks what it writes.
func inspectWhile(w io.Writer, save func(io.Writer) error) (snapshotSummary, error) {
	r, copied := io.Pipe()
	var group errgroup.Group
	group.Go(func() error {
		err := save(io.MultiWriter(w, copied))
		_ = copied.CloseWithError(err) // never fails
		return err
	})
	info, err := topology.InspectSnapshot(r)
	if err != nil {
		err = localf("what the node sent: %w", err)
	}
	_ = r.CloseWithError(err) // never fails
	if saveErr := group.Wait(); saveErr != nil && !errors.Is(saveErr, err) {
		return snapshotSummary{}, saveErr
	}
	return snapshotSummary{info}, err
}
