package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

func fillSegments(t *testing.T, n *Namespace) {
	t.Helper()
	for i := range 300 {
		putKey(t, n, fmt.Sprintf("k%d", i), string(make([]byte, 2000)))
	}
	flush(t, n)
}

func TestBackupLogCopiesSegments(t *testing.T) {
	fsys := vfs.NewMem()
	o := testOptions(t, fsys)
	o.Defaults.Storage.SegmentSize = MinSegmentSize
	n := createNS(t, openDB(t, o), "test")
	fillSegments(t, n)
	copies, err := n.BackupLog(context.Background(), 0, "/data/backups/all")
	if err != nil || len(copies) < 3 {
		t.Fatalf("%d segments, %v", len(copies), err)
	}
	for _, c := range copies {
		got, err1 := readFile(fsys, c.Path)
		want, err2 := readFile(fsys, filepath.Join(n.dir, walDir, filepath.Base(c.Path)))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
			t.Errorf("segment %d differs: %v", c.Segment, err)
		}
	}
	later, err := n.BackupLog(context.Background(), copies[0].Segment, "/data/backups/later")
	if err != nil || len(later) != len(copies)-1 {
		t.Errorf("behind the first: %d segments, %v", len(later), err)
	}
	if _, err := n.BackupLog(context.Background(), 0, "/data/backups/all"); !errors.Is(err, ErrInvalid) {
		t.Errorf("into a directory that isn't empty: %v", err)
	}
}

// A file that is trimmed while it is copied may be used again for other records.
func TestBackupLogNoticesTrimming(t *testing.T) {
	var n *Namespace
	trimmed := false
	fsys := vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		if op.Kind == vfs.OpCreate && strings.Contains(op.Path, "backups") && !trimmed {
			trimmed = true
			n.trim()
		}
		return nil
	}})
	o := testOptions(t, fsys)
	o.Defaults.Storage.SegmentSize = MinSegmentSize
	db := openDB(t, o)
	withoutHousekeeping(db)
	n = createNS(t, db, "test")
	fillSegments(t, n)
	tight := *n.opts.Load()
	tight.Storage.Retention.MaxBytes, tight.Storage.Retention.PinMaxBytes, tight.Storage.Retention.MinSegments = 1, 1, 1
	n.opts.Store(&tight)
	if _, err := n.BackupLog(context.Background(), 0, "/data/backups/all"); !errors.Is(err, ErrTrimmed) {
		t.Errorf("trimmed %v: %v", trimmed, err)
	}
}
