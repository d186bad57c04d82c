package httpapi

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/unisondb/unisondb/dbkernel"
)

func (c *call) offset() error {
	var o dbkernel.LogOffset
	if err := c.onLog(func() (err error) { o, err = c.ns.Offset(); return err }); err != nil {
		return err
	}
	return c.json(struct {
		SegmentID uint64 `json:"segmentId"`
		Offset    int64  `json:"offset"`
		LSN       uint64 `json:"lsn"`
		Epoch     uint64 `json:"epoch"`
	}{o.Segment, o.Offset, o.LSN, o.Epoch})
}

func (c *call) checkpoint() error {
	var o dbkernel.LogOffset
	if err := c.onLog(func() (err error) { o, err = c.ns.Checkpoint(); return err }); err != nil {
		return err
	}
	return c.json(struct {
		RecordProcessed uint64 `json:"recordProcessed"`
		SegmentID       uint64 `json:"segmentId"`
		Offset          int64  `json:"offset"`
		LSN             uint64 `json:"lsn"`
	}{o.LSN, o.Segment, o.Offset, o.LSN})
}

// statsAnswer counts from the start of the process, but for what is a state.
type statsAnswer struct {
	Namespace      string  `json:"namespace"`
	OpsReceived    uint64  `json:"opsReceived"`
	OpsFlushed     uint64  `json:"opsFlushed"`
	CurrentSegment uint64  `json:"currentSegment"`
	CurrentOffset  int64   `json:"currentOffset"`
	Records        uint64  `json:"records"`
	Bytes          uint64  `json:"bytes"`
	Groups         uint64  `json:"groups"`
	Fsyncs         uint64  `json:"fsyncs"`
	Flushes        uint64  `json:"flushes"`
	Expired        uint64  `json:"expired"`
	WriteStall     float64 `json:"writeStallSeconds"`
	LiveBytes      int64   `json:"liveBytes"`
	MemtableBytes  int64   `json:"memtableBytes"`
	LogBytes       int64   `json:"logBytes"`
	Segments       int     `json:"segments"`
	TreeBytes      int64   `json:"treeBytes"`
	LSN            uint64  `json:"lsn"`
	DurableLSN     uint64  `json:"durableLsn"`
	CommitLSN      uint64  `json:"commitLsn"`
	CheckpointLSN  uint64  `json:"checkpointLsn"`
	FirstLSN       uint64  `json:"firstLsn"`
}

func (c *call) stats() error {
	var o dbkernel.LogOffset
	if err := c.onLog(func() (err error) { o, err = c.ns.Offset(); return err }); err != nil {
		return err
	}
	n, s := c.ns.Counters(), c.ns.Status()
	return c.json(statsAnswer{
		Namespace: c.namespace, OpsReceived: n.Ops, OpsFlushed: n.FlushedKeys,
		CurrentSegment: o.Segment, CurrentOffset: o.Offset,
		Records: n.Records, Bytes: n.Bytes, Groups: n.Groups, Fsyncs: n.Fsyncs, Flushes: n.Flushes,
		Expired: n.Expired, WriteStall: n.WriteStall.Seconds(), LiveBytes: n.LiveBytes, MemtableBytes: n.MemtableBytes,
		LogBytes: n.LogBytes, Segments: n.Segments, TreeBytes: n.TreeBytes,
		LSN: s.LSN, DurableLSN: s.DurableLSN, CommitLSN: s.CommitLSN, CheckpointLSN: s.CheckpointLSN, FirstLSN: s.FirstLSN,
	})
}

func (c *call) logBackup() error {
	var in struct {
		AfterSegmentID uint64 `json:"afterSegmentId"`
		BackupDir      string `json:"backupDir"`
	}
	if err := c.readJSON(maxSmallBody, &in); err != nil {
		return err
	}
	dir, err := c.api.backupPath("backupDir", in.BackupDir)
	if err != nil {
		return err
	}
	var segments []dbkernel.SegmentCopy
	err = c.onLog(func() (err error) {
		segments, err = c.ns.BackupLog(c.Context(), in.AfterSegmentID, dir)
		return err
	})
	if err != nil {
		return err
	}
	type backup struct {
		SegmentID uint64 `json:"segmentId"`
		Path      string `json:"path"`
	}
	out := struct {
		Backups []backup `json:"backups"`
	}{make([]backup, 0, len(segments))}
	for _, s := range segments {
		out.Backups = append(out.Backups, backup{s.Segment, s.Path})
	}
	return c.json(out)
}

func (c *call) treeBackup() error {
	var in struct {
		Path string `json:"path"`
	}
	if err := c.readJSON(maxSmallBody, &in); err != nil {
		return err
	}
	path, err := c.api.backupPath("path", in.Path)
	if err != nil {
		return err
	}
	var n int64
	if err := c.onLog(func() (err error) { n, err = c.ns.BackupTree(c.Context(), path); return err }); err != nil {
		return err
	}
	return c.json(struct {
		Path  string `json:"path"`
		Bytes int64  `json:"bytes"`
	}{path, n})
}

// backupPath is where a backup of that name goes: below the node's own
// directory for backups, and nowhere else, whatever the name and the links in that
// directory say. The directory above it is made.
func (a *API) backupPath(field, name string) (string, error) {
	if a.backupDir == "" {
		return "", notBuilt("a backup on this node")
	}
	clean := filepath.Clean(filepath.FromSlash(name))
	if name == "" || clean == "." || !filepath.IsLocal(name) || strings.ContainsAny(name, "\x00\\") || hasDotDot(name) {
		return "", badRequest(CodeBadRequest, `%s=%q is not a name below the node's backup directory: use one such as "monday" or "2026/monday", neither absolute nor with ".."`, field, name)
	}
	if err := os.MkdirAll(a.backupDir, 0o750); err != nil {
		return "", fmt.Errorf("make the backup directory: %w", err)
	}
	root, err := os.OpenRoot(a.backupDir)
	if err != nil {
		return "", fmt.Errorf("open the backup directory: %w", err)
	}
	defer root.Close() //nolint:errcheck // it was only read
	if err := root.MkdirAll(filepath.Dir(clean), 0o750); err != nil {
		return "", badRequest(CodeBadRequest, "%s=%q can't be made below the node's backup directory: %v", field, name, err)
	}
	switch _, err := root.Lstat(clean); {
	case err == nil:
		return "", &Error{Status: http.StatusConflict, Code: CodeBackupExists, Message: fmt.Sprintf("%s: a backup named %q exists: choose another name", field, name)}
	case !errors.Is(err, fs.ErrNotExist):
		return "", badRequest(CodeBadRequest, "%s=%q can't be made below the node's backup directory: %v", field, name, err)
	}
	return filepath.Join(a.backupDir, clean), nil
}

func hasDotDot(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}
