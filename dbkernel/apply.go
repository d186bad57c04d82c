package dbkernel

import (
	"encoding/hex"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/memtable"
)

// apply brings a record into the active memtable. It is the same on the owner,
// on a replica and in recovery, and depends on nothing but the record and what
// was applied before. Only the committer calls it, or recovery.
func (n *Namespace) apply(rec codec.Record) error {
	m := n.mems.Load().active()
	switch rec.Kind() {
	case codec.KindBatch:
		v := codec.Version{Epoch: rec.Epoch(), LSN: rec.LSN()}
		if err := rec.Ops(func(op codec.Op) error { return n.applyOp(m, v, op) }); err != nil {
			return err
		}
		m.records++
		n.unmarked.CompareAndSwap(0, rec.Time())
	case codec.KindEpoch:
		if err := n.noteEpoch(rec); err != nil {
			return err
		}
	case codec.KindMark:
		m.marked = true
		n.lastMark = rec.LSN()
		n.unmarked.Store(0)
	default:
		return fmt.Errorf("record LSN %d is of kind %d, which this build doesn't know: use a newer build", rec.LSN(), rec.Kind())
	}
	m.last, m.epoch, m.time = rec.LSN(), rec.Epoch(), rec.Time()
	n.count(m)
	n.rotateIfDue(m, rec.Kind())
	return nil
}

// rotateIfDue rotates at a mark, and where a stage is to be complete. An owner's full memtable asks for one in front
// of the next group. Recovery and replicas, which can't, wait for the one that
// the log has, unless their own memtable is much smaller than the owner's.
func (n *Namespace) rotateIfDue(m *mem, kind codec.Kind) {
	if n.reachesTarget(m.last) {
		defer n.rotate()
	}
	switch {
	case kind == codec.KindMark:
		n.rotate()
		n.mark.Store(markNone)
	case n.recovering || n.opts.Load().Replica:
		if n.overfull(m) {
			n.rotate()
		}
	case n.full(m):
		n.mark.CompareAndSwap(markNone, markDue)
	}
}

// How far a mark is that a full memtable asks for.
const (
	markNone    int32 = iota
	markDue           // the next group begins with it
	markWritten       // it is in the log and not yet applied
)

// count brings the node's memory count up to the table's size.
func (n *Namespace) count(m *mem) {
	now := m.Bytes()
	n.db.memory.Add(now - m.counted)
	m.counted = now
}

func (n *Namespace) applyOp(m *mem, v codec.Version, op codec.Op) error {
	if len(op.Key) > 0 && op.Key[0] == codec.TypeModel {
		n.models.note(op.Key, v.LSN)
	}
	switch op.Kind {
	case codec.OpPut, codec.OpCursor, codec.OpChunk, codec.OpManifest:
		m.Add(op.Key, &memtable.Version{Version: v, Kind: memtable.Put, Expiry: op.Expiry, Value: op.Value})
		n.noteExpiry(m, v, op)
		return n.noteUpload(op)
	case codec.OpDelete:
		m.Add(op.Key, &memtable.Version{Version: v, Kind: memtable.Delete})
	case codec.OpDeleteRow:
		m.Add(op.Key, &memtable.Version{Version: v, Kind: memtable.RangeDrop})
	case codec.OpExpire:
		m.Add(op.Key, &memtable.Version{Version: v, Kind: memtable.Expire, Target: op.Target})
	case codec.OpDrop:
		delete(n.uploads, op.Object)
		m.Add(codec.ChunkPrefix(op.Object), &memtable.Version{Version: v, Kind: memtable.RangeDrop})
	}
	return nil
}

// noteExpiry indexes a cell that will expire.
func (n *Namespace) noteExpiry(m *mem, v codec.Version, op codec.Op) {
	if op.Expiry == 0 {
		return
	}
	m.Add(codec.ExpiryKey(op.Expiry, op.Key), &memtable.Version{Version: v, Kind: memtable.IndexEntry})
	n.noteDue(op.Expiry)
}

// noteUpload keeps the set of objects whose manifest is still to come.
func (n *Namespace) noteUpload(op codec.Op) error {
	switch op.Kind {
	case codec.OpChunk:
		n.uploads[op.Object] += int64(len(op.Value))
	case codec.OpManifest:
		manifest, err := codec.DecodeManifest(op.Value)
		if err != nil {
			return err
		}
		delete(n.uploads, manifest.Object)
	}
	return nil
}

// parseUploads reads the form in which a checkpoint has open uploads.
func parseUploads(byName map[string]int64) (map[codec.ObjectID]int64, error) {
	uploads := make(map[codec.ObjectID]int64, len(byName))
	for name, size := range byName {
		id, err := parseObjectID(name)
		if err != nil {
			return nil, err
		}
		uploads[id] = size
	}
	return uploads, nil
}

func parseObjectID(s string) (id codec.ObjectID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: %q is no object id", ErrDamaged, s)
	}
	return codec.ObjectID(b), nil
}
