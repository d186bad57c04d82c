package diagnose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/dbkernel/inspect"
	"github.com/unisondb/unisondb/server/topology"
)

// namespaces looks at the files of each namespace.
func (d *diagnosis) namespaces(ctx context.Context, s *Step) {
	switch {
	case !s.needs(d.dir != "", theDataDirectory):
		return
	case d.running:
		s.skip("a node runs on them: 'unisondb status' says how they do, and 'unisondb operator verify -scrub' has their files read")
		return
	}
	names, err := inspect.Namespaces(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		s.skip("there are none yet")
		return
	}
	if err != nil {
		s.fail(err.Error(), "let the user that runs the node read the directory")
		return
	}
	for _, name := range names {
		d.namespace(ctx, s, name)
	}
	if len(names) == 0 {
		s.skip("there are none yet")
	}
}

func (d *diagnosis) namespace(ctx context.Context, s *Step, name string) {
	dir, err := inspect.Open(inspect.Path(d.dir, name))
	if err != nil {
		s.fail(fmt.Sprintf("%s: %v", name, err), "run this again when no node runs")
		return
	}
	look := dir.Look
	if d.Deep {
		look = func(ctx context.Context) (inspect.Report, error) { return dir.Verify(ctx, nil) }
	}
	report, err := look(ctx)
	if err = errors.Join(err, dir.Close()); err != nil {
		s.warn(fmt.Sprintf("%s: %v", name, err), "run this again")
		return
	}
	const advice = "'unisondb operator log verify' says more; restore it from a backup, or, on a replica, set its directory aside and let it be replicated again"
	if report.Quarantine != "" {
		s.fail(fmt.Sprintf("%s is quarantined: %s", name, report.Quarantine), advice+"; then remove the file "+filepath.Join(report.Path, "quarantine"))
	}
	for _, p := range report.Problems {
		s.fail(fmt.Sprintf("%s: %s: %s", name, p.Where, p.Problem), advice)
	}
	if len(report.Problems) == 0 && report.Quarantine == "" {
		s.ok(fmt.Sprintf("%s: LSN %d to %d", name, report.Log.FirstLSN, report.Log.LastLSN))
	}
}

// controlPlane looks at a hub's part of the group.
func (d *diagnosis) controlPlane(_ context.Context, s *Step) {
	if !s.needs(d.dir != "", theDataDirectory) {
		return
	}
	dir := filepath.Join(d.dir, "raft")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		s.skip("this node has none: it is a relayer, or was never started")
		return
	}
	for _, name := range []string{"raft.json", "log.db"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			s.fail(err.Error(), "restore the directory raft from a backup, or remove it whole: the hub then joins its group anew")
			return
		}
		s.ok(fmt.Sprintf("raft/%s has %s", name, bytesOf(uint64(info.Size())))) //nolint:gosec // sizes aren't negative
	}
	snapshots, err := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
	if err != nil || len(snapshots) == 0 {
		return
	}
	slices.Sort(snapshots)
	d.snapshot(s, snapshots[len(snapshots)-1])
}

func (d *diagnosis) snapshot(s *Step, path string) {
	f, err := os.Open(path)
	if err != nil {
		s.fail(err.Error(), "let the user that runs the node read it")
		return
	}
	info, err := topology.InspectSnapshot(f)
	_ = f.Close() // only read
	if err != nil {
		s.fail(fmt.Sprintf("the newest snapshot of the control plane: %v", err), "remove the directory raft: the hub then joins its group anew; with one hub alone, restore it from a backup")
		return
	}
	s.ok(fmt.Sprintf("its newest snapshot is of index %d of cluster %s", info.Index, info.Cluster))
}

// clockSlack is how far ahead a file may be before a clock is in doubt.
const clockSlack = time.Minute

// clock compares this machine's with what the node has written before.
func (d *diagnosis) clock(_ context.Context, s *Step) {
	now := d.Clock()
	if now.Year() < 2024 {
		s.fail("this machine believes that it is "+now.UTC().Format(time.RFC3339), "set its clock, by NTP: certificates and expiries go by it")
		return
	}
	if d.dir == "" {
		s.ok("this machine believes that it is " + now.UTC().Format(time.RFC3339))
		return
	}
	newest, path := newestFile(d.dir)
	if ahead := newest.Sub(now); ahead > clockSlack {
		s.warn(fmt.Sprintf("%s was written %s in the future", path, ahead.Round(time.Second)),
			"set this machine's clock, by NTP; if it is right now, it was wrong before, and keys may expire late")
		return
	}
	s.ok("this machine believes that it is " + now.UTC().Format(time.RFC3339) + ", and nothing here was written later")
}

// newestFile is when one of the node's files was written last.
func newestFile(dir string) (newest time.Time, path string) {
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && strings.HasPrefix(e.Name(), ".") {
			return nil //nolint:nilerr // what can't be read is another step's
		}
		if info, err := e.Info(); err == nil && info.ModTime().After(newest) {
			newest, path = info.ModTime(), p
		}
		return nil
	})
	return newest, path
}
