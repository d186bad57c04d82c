package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// checkSound flushes a namespace and holds everything in it against everything
// else: the log against the epoch table, the tree against the log, the expiry
// index, the objects and the counters against the cells.
func checkSound(t testing.TB, n *Namespace) {
	t.Helper()
	if err := sound(n); err != nil {
		t.Fatalf("namespace %s: %v", n.name, err)
	}
}

func sound(n *Namespace) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if err := n.acquire(); err != nil {
		return err
	}
	defer n.release()
	s := n.Status()
	if s.CheckpointLSN > s.CommitLSN || s.CommitLSN > s.DurableLSN || s.DurableLSN > s.LSN {
		return fmt.Errorf("checkpoint %d, commit %d, durable %d, last %d: not in order", s.CheckpointLSN, s.CommitLSN, s.DurableLSN, s.LSN)
	}
	records, err := readLog(ctx, n)
	if err != nil {
		return err
	}
	if err := checkLog(n, records); err != nil {
		return err
	}
	tree, err := readTree(n)
	if err != nil {
		return err
	}
	if err := tree.check(n); err != nil {
		return err
	}
	if err := digestsAgree(n); err != nil {
		return err
	}
	if wholeLog(records) && s.CheckpointLSN == s.LSN {
		return tree.equals(replayed(records))
	}
	return nil
}

// wholeLog reports whether records are the log from its beginning.
func wholeLog(records []codec.Record) bool { return len(records) > 0 && records[0].LSN() == 1 }

// readLog reads all committed records through a Tail.
func readLog(ctx context.Context, n *Namespace) (records []codec.Record, err error) {
	from, tail, err := tailFromFirst(n)
	if err != nil {
		return nil, err
	}
	defer tail.Close()
	last := n.commit.Load()
	for next := from; next <= last; {
		run, err := tail.Next(ctx, 64<<10)
		if err != nil {
			return nil, fmt.Errorf("reading the log at LSN %d: %w", next, err)
		}
		if run.First != next || run.Last > run.Commit || run.Commit > n.durable.Load() {
			return nil, fmt.Errorf("a run of LSN %d to %d came with commit %d and durable %d, LSN %d was next", run.First, run.Last, run.Commit, n.durable.Load(), next)
		}
		for _, b := range run.Records {
			for len(b) > 0 {
				var rec codec.Record
				if rec, _, b, err = codec.CutRecord(b); err != nil {
					return nil, err
				}
				if rec.LSN() != next {
					return nil, fmt.Errorf("record LSN %d came, %d was next", rec.LSN(), next)
				}
				records = append(records, rec)
				next++
			}
		}
	}
	return records, nil
}

// tailFromFirst opens a reader at the beginning of the log, which a flush in the
// background may trim at any moment until it is pinned.
func tailFromFirst(n *Namespace) (from uint64, tail *Tail, err error) {
	for {
		from = n.log.FirstLSN()
		if tail, err = n.Tail("test", from); !errors.Is(err, ErrTrimmed) {
			return from, tail, err
		}
	}
}

// checkLog holds the records against the epoch table, in memory and in meta.json.
func checkLog(n *Namespace, records []codec.Record) error {
	table := n.EpochTable()
	m, err := readMeta(n.db.opts.FS, n.dir)
	if err != nil {
		return err
	}
	for i, e := range table {
		if i > 0 && (e.Epoch <= table[i-1].Epoch || e.FirstLSN <= table[i-1].FirstLSN) {
			return fmt.Errorf("the epoch table doesn't rise: %v", table)
		}
		if e.Epoch > m.LastEpoch {
			return fmt.Errorf("epoch %d is above meta.json's last, %d", e.Epoch, m.LastEpoch)
		}
	}
	for _, e := range m.Epochs {
		if e.FirstLSN <= n.appended.Load() && !slices.Contains(table, e) {
			return fmt.Errorf("meta.json has epoch %+v, the log doesn't: %v", e, table)
		}
	}
	var last int64
	for _, rec := range records {
		if rec.Time() < last {
			return fmt.Errorf("time goes back at LSN %d", rec.LSN())
		}
		last = rec.Time()
		if rec.Epoch() != epochAt(table, rec.LSN()) {
			return fmt.Errorf("LSN %d is of epoch %d, by the table of %d", rec.LSN(), rec.Epoch(), epochAt(table, rec.LSN()))
		}
		if rec.Kind() == codec.KindEpoch {
			bits, err := rec.EpochBits()
			if err != nil || !slices.Contains(table, EpochStart{Epoch: rec.Epoch(), FirstLSN: rec.LSN(), Bits: bits}) {
				return fmt.Errorf("the epoch record LSN %d isn't in the table (%v)", rec.LSN(), err)
			}
		}
	}
	return nil
}

// cellMap is cells by their encoded keys.
type cellMap map[string]codec.Cell

// treeState is all that a tree holds.
type treeState struct {
	cells    cellMap         // all but the tree's own
	due      map[string]bool // entries of the expiry index
	dropped  map[codec.ObjectID]bool
	manifest map[codec.ObjectID]codec.Manifest
	chunks   map[codec.ObjectID]int64 // bytes
}

func readTree(n *Namespace) (*treeState, error) {
	snap, err := n.tree.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	c, err := snap.Cursor()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s := &treeState{
		cells: cellMap{}, due: map[string]bool{}, dropped: map[codec.ObjectID]bool{},
		manifest: map[codec.ObjectID]codec.Manifest{}, chunks: map[codec.ObjectID]int64{},
	}
	for ok := c.Seek([]byte{0}); ok; ok = c.Next() {
		if err := s.add(bytes.Clone(c.Key()), bytes.Clone(c.Value())); err != nil {
			return nil, err
		}
	}
	return s, c.Err()
}

func (s *treeState) add(key, value []byte) error {
	switch {
	case bytes.HasPrefix(key, codec.ExpiryPrefix()):
		s.due[string(key)] = true
		return nil
	case bytes.HasPrefix(key, codec.DropPrefix()):
		id, err := codec.SplitDropKey(key)
		s.dropped[id] = true
		return err
	case key[0] == codec.TypeSystem:
		return nil
	}
	cell, err := codec.DecodeCell(key, value)
	if err != nil {
		return err
	}
	s.cells[string(key)] = cell
	switch key[0] {
	case codec.TypeManifest:
		m, err := codec.DecodeManifest(cell.Value)
		s.manifest[m.Object] = m
		return err
	case codec.TypeChunk:
		id, _, err := codec.SplitChunkKey(key)
		s.chunks[id] += int64(len(cell.Value))
		return err
	}
	return nil
}

// check holds the parts of the tree against each other and against its checkpoint.
func (s *treeState) check(n *Namespace) error {
	var live int64
	for key, cell := range s.cells {
		live += int64(len(key) + len(cell.Value))
		if cell.Expiry != 0 && !s.due[string(codec.ExpiryKey(cell.Expiry, []byte(key)))] {
			return fmt.Errorf("cell %x expires, but isn't in the index", key)
		}
	}
	for entry := range s.due {
		at, key, err := codec.SplitExpiryKey([]byte(entry))
		if err != nil {
			return err
		}
		if cell, ok := s.cells[string(key)]; !ok || cell.Expiry != at {
			return fmt.Errorf("the index says that cell %x expires at %d, the cell says %d (there: %v)", key, at, cell.Expiry, ok)
		}
	}
	point := n.point.Load()
	if point.Live != live {
		return fmt.Errorf("the checkpoint counts %d live bytes, the cells have %d", point.Live, live)
	}
	for id, m := range s.manifest {
		if s.chunks[id] != int64(m.Size) {
			return fmt.Errorf("object %s has %d bytes, its chunks %d", id, m.Size, s.chunks[id])
		}
	}
	for id, size := range s.chunks {
		if _, ok := s.manifest[id]; ok || s.dropped[id] {
			continue
		}
		if open, ok := point.Uploads[id.String()]; !ok || open != size {
			return fmt.Errorf("object %s has %d bytes of chunks, but no manifest, and is no open upload (%d bytes)", id, size, open)
		}
	}
	return nil
}

// equals compares with what the log says. Chunks that wait for a reader to end
// are no difference.
func (s *treeState) equals(log cellMap) error {
	for key, cell := range log {
		got, ok := s.cells[key]
		if !ok {
			return fmt.Errorf("cell %x of LSN %d isn't in the tree", key, cell.Version.LSN)
		}
		if got.Version != cell.Version || got.Expiry != cell.Expiry || !bytes.Equal(got.Value, cell.Value) {
			return fmt.Errorf("cell %x is of %v in the tree and of %v by the log", key, got.Version, cell.Version)
		}
	}
	for key, cell := range s.cells {
		if _, ok := log[key]; ok {
			continue
		}
		if id, _, err := codec.SplitChunkKey([]byte(key)); err == nil && s.dropped[id] {
			continue
		}
		return fmt.Errorf("cell %x of LSN %d is in the tree, but not by the log", key, cell.Version.LSN)
	}
	return nil
}

// replayed is what the records amount to, done the simplest way.
func replayed(records []codec.Record) cellMap {
	cells := cellMap{}
	for _, rec := range records {
		v := codec.Version{Epoch: rec.Epoch(), LSN: rec.LSN()}
		dropOlder := func(prefix []byte) {
			for key, cell := range cells {
				if cell.Version != v && bytes.HasPrefix([]byte(key), prefix) {
					delete(cells, key)
				}
			}
		}
		err := rec.Ops(func(op codec.Op) error {
			switch op.Kind {
			case codec.OpPut, codec.OpManifest, codec.OpCursor, codec.OpChunk:
				cells[string(op.Key)] = codec.Cell{Version: v, Expiry: op.Expiry, Value: op.Value}
			case codec.OpDelete:
				delete(cells, string(op.Key))
			case codec.OpDeleteRow:
				dropOlder(op.Key)
			case codec.OpExpire:
				if cells[string(op.Key)].Version == op.Target {
					delete(cells, string(op.Key))
				}
			case codec.OpDrop:
				dropOlder(codec.ChunkPrefix(op.Object))
			}
			return nil
		})
		if err != nil {
			panic(err) // the records were checked
		}
	}
	return cells
}
