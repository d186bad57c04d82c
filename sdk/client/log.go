package client

import (
	"context"
	"encoding/json"
	"net/http"
)

// Offset is the end of a namespace's log.
type Offset struct {
	SegmentID uint64 `json:"segmentId"`
	Offset    int64  `json:"offset"`
	LSN       uint64 `json:"lsn"`
	Epoch     uint64 `json:"epoch"`
}

// Offset asks where the log of the namespace ends.
func (c *Client) Offset(ctx context.Context) (Offset, error) {
	var o Offset
	_, err := c.call(ctx, c.data(http.MethodGet, "offset", newCallOptions()), &o)
	return o, err
}

// Checkpoint is how far the B+tree has the log.
type Checkpoint struct {
	RecordsProcessed uint64 `json:"recordProcessed"`
	SegmentID        uint64 `json:"segmentId"`
	Offset           int64  `json:"offset"`
	LSN              uint64 `json:"lsn"`
}

// Checkpoint asks how far the B+tree of the namespace has the log.
func (c *Client) Checkpoint(ctx context.Context) (Checkpoint, error) {
	var cp Checkpoint
	_, err := c.call(ctx, c.data(http.MethodGet, "checkpoint", newCallOptions()), &cp)
	return cp, err
}

// Stats are counters of a namespace since the node's start.
type Stats struct {
	Namespace      string `json:"namespace"`
	OpsReceived    uint64 `json:"opsReceived"`
	OpsFlushed     uint64 `json:"opsFlushed"`
	CurrentSegment uint64 `json:"currentSegment"`
	CurrentOffset  int64  `json:"currentOffset"`
	// Raw is the whole answer, which may have more fields.
	Raw json.RawMessage `json:"-"`
}

// Stats asks for the counters of the namespace.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	err := c.callRaw(ctx, c.data(http.MethodGet, "stats", newCallOptions()), &s, &s.Raw)
	return s, err
}

// SegmentBackup is a copy of a segment of the log.
type SegmentBackup struct {
	SegmentID uint64 `json:"segmentId"`
	Path      string `json:"path"`
}

// BackupLog copies the segments behind afterSegment to a new directory below
// the node's data_dir/backups.
func (c *Client) BackupLog(ctx context.Context, afterSegment uint64, dir string) ([]SegmentBackup, error) {
	r, err := c.data(http.MethodPost, "wal/backup", newCallOptions()).withJSON(struct {
		AfterSegmentID uint64 `json:"afterSegmentId"`
		BackupDir      string `json:"backupDir"`
	}{afterSegment, dir})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Backups []SegmentBackup `json:"backups"`
	}
	_, err = c.call(ctx, r, &answer)
	return answer.Backups, err
}

// TreeBackup is a copy of the B+tree.
type TreeBackup struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// BackupTree copies the B+tree to a new file below the node's data_dir/backups.
func (c *Client) BackupTree(ctx context.Context, path string) (TreeBackup, error) {
	r, err := c.data(http.MethodPost, "btree/backup", newCallOptions()).withJSON(struct {
		Path string `json:"path"`
	}{path})
	if err != nil {
		return TreeBackup{}, err
	}
	var b TreeBackup
	_, err = c.call(ctx, r, &b)
	return b, err
}

// callRaw decodes an answer and keeps its text.
func (c *Client) callRaw(ctx context.Context, r *request, out any, raw *json.RawMessage) error {
	if _, err := c.call(ctx, r, raw); err != nil {
		return err
	}
	return json.Unmarshal(*raw, out)
}
