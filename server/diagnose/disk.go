package diagnose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/unisondb/unisondb/dbkernel/inspect"
)

// dataDirectory looks whether the directory is there and who has it.
func (d *diagnosis) dataDirectory(_ context.Context, s *Step) {
	if !s.needs(d.dir != "", theDataDirectory) {
		return
	}
	info, err := os.Stat(d.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := existing(d.dir)
		if unix.Access(parent, unix.W_OK|unix.X_OK) != nil {
			s.fail(fmt.Sprintf("%s isn't there, and this user may not make it in %s", d.dir, parent), "make it and give it to the user that runs the node")
			return
		}
		s.warn(d.dir+" isn't there: the node was never started here", "start the node, which makes it; where it has run, check that the disk is mounted")
		return
	case err != nil:
		s.fail(err.Error(), "let the user that runs the node read "+d.dir)
		return
	case !info.IsDir():
		s.fail(d.dir+" is no directory", "set data_dir to a directory")
		return
	}
	lock, err := inspect.LockDataDir(d.dir)
	switch {
	case errors.Is(err, inspect.ErrRunning):
		d.running = true
		s.ok("a node runs on " + d.dir)
	case err != nil:
		s.fail(fmt.Sprintf("the lock: %v", err), "let the user that runs the node read and write the file LOCK")
	default:
		if lock != nil {
			_ = lock.Close() // only read
		}
		s.ok("no node runs on " + d.dir)
	}
}

// existing is the nearest directory above a path that is there.
func existing(path string) string {
	for {
		above := filepath.Dir(path)
		if _, err := os.Stat(above); err == nil || above == path {
			return above
		}
		path = above
	}
}

const (
	// Below these the step warns, and fails.
	littleSpace = 1 << 30
	noSpace     = 64 << 20
	littleShare = 20 // a twentieth of the disk
)

// diskSpace looks at what is left for the data, in bytes and in files.
func (d *diagnosis) diskSpace(_ context.Context, s *Step) {
	if !s.needs(d.dir != "", theDataDirectory) {
		return
	}
	at := d.dir
	if _, err := os.Stat(at); err != nil {
		at = existing(at)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		s.warn(fmt.Sprintf("the disk of %s can't be asked: %v", at, err), "check the mount")
		return
	}
	size := uint64(st.Bsize) //nolint:gosec // a block has a size above 0
	free, whole := st.Bavail*size, st.Blocks*size
	found := fmt.Sprintf("%s free of %s", bytesOf(free), bytesOf(whole))
	const advice = "free some, or move data_dir to a larger disk; writes are refused once it is full, reads go on"
	switch {
	case free < noSpace:
		s.fail(found, advice)
	case free < littleSpace || free < whole/littleShare:
		s.warn(found, advice)
	default:
		s.ok(found)
	}
	if st.Files > 0 && st.Ffree < st.Files/100 {
		s.warn(fmt.Sprintf("%d files can be made, of %d", st.Ffree, st.Files), "remove small files from the disk: it runs out of inodes before it is full")
	}
}

func bytesOf(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// maxNamed bounds how many files a finding names.
const maxNamed = 5

// permissions looks whether this user may read and write what the node has.
func (d *diagnosis) permissions(ctx context.Context, s *Step) {
	if !s.needs(d.dir != "", theDataDirectory) {
		return
	}
	if _, err := os.Stat(d.dir); err != nil {
		s.skip(d.dir + " isn't there")
		return
	}
	var closed, open []string
	files := 0
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running node has removed it
		}
		files++
		if err != nil || unix.Access(path, unix.R_OK|unix.W_OK) != nil {
			if _, gone := os.Lstat(path); !errors.Is(gone, fs.ErrNotExist) {
				closed = append(closed, path)
			}
			return nil
		}
		if secret(e.Name()) && readableByOthers(e) {
			open = append(open, path)
		}
		return nil
	})
	if err != nil {
		s.warn(err.Error(), "run this again")
	}
	if len(closed) > 0 {
		s.fail("this user may not read and write "+named(closed), "run this as the user that runs the node; if it is that one, give it the files with chown")
	}
	if len(open) > 0 {
		s.warn("other users of the machine may read "+named(open), "take the right from them: chmod 600")
	}
	if len(closed)+len(open) == 0 {
		s.ok(fmt.Sprintf("this user may read and write all %d files", files))
	}
}

// secret says whether a file holds what others must not know.
func secret(name string) bool {
	return name == "relayer.json" || strings.HasSuffix(name, ".key")
}

func readableByOthers(e fs.DirEntry) bool {
	info, err := e.Info()
	return err == nil && !info.IsDir() && info.Mode().Perm()&0o077 != 0
}

func named(paths []string) string {
	if len(paths) <= maxNamed {
		return strings.Join(paths, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(paths[:maxNamed], ", "), len(paths)-maxNamed)
}
