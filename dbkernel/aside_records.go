package dbkernel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/unisondb/unisondb/dbkernel/inspect"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/wal"
)

// writeAside writes a log's records from an LSN on to a file in aside/, one JSON
// object a line, and makes it durable before it answers the file's path. It is empty
// where there are none.
func (db *DB) writeAside(log *wal.Log, name string, from uint64, reason string) (path string, err error) {
	last := log.LastLSN()
	if from > last {
		return "", nil
	}
	path, err = db.asidePath(name, fmt.Sprintf("-%d-%d%s", from, last, recordsEnd))
	if err != nil {
		return "", err
	}
	if err := db.writeReason(strings.TrimSuffix(path, recordsEnd)+reasonEnding, reason); err != nil {
		return "", err
	}
	f, err := db.opts.FS.Create(path + tmpEnding)
	if err != nil {
		return "", err
	}
	err = writeRecords(&fileWriter{f: f}, log, from, last)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = db.opts.FS.Rename(path+tmpEnding, path)
	}
	if err != nil {
		return "", errors.Join(err, db.opts.FS.Remove(path+tmpEnding))
	}
	return path, db.opts.FS.SyncDir(filepath.Dir(path))
}

func writeRecords(w io.Writer, log *wal.Log, from, last uint64) error {
	r, err := log.NewReader(from)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	for next := from; next <= last; {
		chunk, _, to, err := r.Next(last, replayChunk)
		if err != nil {
			return asDamage(err)
		}
		if chunk == nil {
			return fmt.Errorf("%w: the log ends before LSN %d, expected %d", ErrDamaged, next, last)
		}
		var lines bytes.Buffer
		for len(chunk) > 0 {
			var rec codec.Record
			if rec, _, chunk, err = codec.CutRecord(chunk); err != nil {
				return asDamage(err)
			}
			if err := json.NewEncoder(&lines).Encode(inspect.Describe(rec)); err != nil {
				return err
			}
		}
		if _, err := w.Write(lines.Bytes()); err != nil {
			return err
		}
		next = to + 1
	}
	return nil
}
