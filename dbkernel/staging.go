package dbkernel

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// staging is what a staged tree says about itself: cells of its own, beside where
// the checkpoint is, written in the same transactions as the cells they speak of.
// The transaction that completes the tree removes them. Immutable.
type staging struct {
	stagingState
	uploads map[codec.ObjectID]int64 // the target's
	chunks  []StagedChunk            // in key order; in the tree an entry each
}

// stagingState is the value of the cell under StageKey.
type stagingState struct {
	Format  int          `json:"format"`
	Lineage Lineage      `json:"lineage"`
	Epochs  []EpochStart `json:"epochs"` // of the source that it was last rebased on
	Live    int64        `json:"live"`   // bytes of keys and values; counts until there is a checkpoint
	// Finished says that there is a log, and a checkpoint in front of it. The target
	// is set from then on.
	Finished  bool         `json:"finished,omitempty"`
	FromStart bool         `json:"from_start,omitempty"` // the log alone makes it
	Target    stagedTarget `json:"target,omitzero"`
}

// stagedTarget is the record at which the tree is complete, and what no chunk says
// of it.
type stagedTarget struct {
	LSN     uint64           `json:"lsn"`
	Epoch   uint64           `json:"epoch"`
	Records uint64           `json:"records"`
	Uploads map[string]int64 `json:"uploads,omitempty"`
}

const stagingFormat = 1

// readStaging reads a staged tree's account; nil where the tree is complete.
func readStaging(r btree.Reader) (*staging, error) {
	key := codec.StageKey()
	b, found, err := r.Get(key)
	if err != nil || !found {
		return nil, err
	}
	cell, err := codec.DecodeCell(key, b)
	s := &staging{}
	if err == nil {
		err = json.Unmarshal(cell.Value, &s.stagingState)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the staged B+tree's account: %w", ErrDamaged, err)
	}
	if s.Format > stagingFormat {
		return nil, fmt.Errorf("%w: the staged B+tree has format %d, this build reads up to %d: use a newer build", ErrNewerFormat, s.Format, stagingFormat)
	}
	if s.uploads, err = parseUploads(s.Target.Uploads); err != nil {
		return nil, err
	}
	s.chunks, err = readStagedChunks(r)
	return s, err
}

func readStagedChunks(r btree.Reader) (chunks []StagedChunk, err error) {
	c, err := r.Cursor()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	prefix := codec.StagedChunkPrefix()
	entries := keyRange{prefix, codec.PrefixEnd(prefix)}
	for ok := c.Seek(prefix); ok && entries.holds(c.Key()); ok = c.Next() {
		cell, err := codec.DecodeCell(c.Key(), c.Value())
		if err != nil {
			return nil, fmt.Errorf("%w: an entry of a staged chunk: %w", ErrDamaged, err)
		}
		start, err := codec.SplitStagedChunkKey(c.Key())
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, StagedChunk{
			KeyRange: KeyRange{Start: bytes.Clone(start), End: bytes.Clone(cell.Value)},
			Epoch:    cell.Version.Epoch, LSN: cell.Version.LSN,
		})
	}
	return chunks, c.Err()
}

// write stores the state; the entries of chunks are written one by one.
func (s *stagingState) write(tx btree.Tx) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	key := codec.StageKey()
	return tx.Put(key, codec.AppendCell(nil, key, codec.Cell{Value: b}))
}

// write stores the chunk's entry.
func (c StagedChunk) write(tx btree.Tx) error {
	key := codec.StagedChunkKey(c.Start)
	return tx.Put(key, codec.AppendCell(nil, key, codec.Cell{
		Version: codec.Version{Epoch: c.Epoch, LSN: c.LSN}, Value: c.End,
	}))
}

// chunkOf is the index of the last chunk that begins at the key or before it, -1
// if there is none.
func chunkOf(chunks []StagedChunk, key []byte) int {
	at, found := slices.BinarySearchFunc(chunks, key, func(c StagedChunk, key []byte) int { return bytes.Compare(c.Start, key) })
	if found {
		return at
	}
	return at - 1
}

// lsnOf is the LSN up to which a chunk has brought the key's history into the tree:
// what records up to there did to the key is in it already. 0 where the tree is no
// staged one.
func (s *staging) lsnOf(key []byte) uint64 {
	if s == nil {
		return 0
	}
	if i := chunkOf(s.chunks, key); i >= 0 && s.chunks[i].holds(key) {
		return s.chunks[i].LSN
	}
	return 0
}

func (r KeyRange) holds(key []byte) bool {
	return bytes.Compare(key, r.Start) >= 0 && (len(r.End) == 0 || bytes.Compare(key, r.End) < 0)
}

// missing lists the ranges between the chunks.
func missing(chunks []StagedChunk) (gaps []KeyRange) {
	var from []byte
	for _, c := range chunks {
		if bytes.Compare(from, c.Start) < 0 {
			gaps = append(gaps, KeyRange{Start: from, End: c.Start})
		}
		if from = c.End; len(from) == 0 {
			return gaps
		}
	}
	return append(gaps, KeyRange{Start: from})
}

// highest is the last record that a chunk has something of.
func highest(chunks []StagedChunk) (lsn uint64) {
	for _, c := range chunks {
		lsn = max(lsn, c.LSN)
	}
	return lsn
}

// lowest is the record behind which the chunks need the log.
func lowest(chunks []StagedChunk) uint64 {
	return slices.MinFunc(chunks, func(a, b StagedChunk) int { return cmp.Compare(a.LSN, b.LSN) }).LSN
}

// raised is the chunks as they are when the log behind them is in the tree up to
// a checkpoint: none of them is older than that.
func raised(chunks []StagedChunk, point *checkpoint) []StagedChunk {
	all := slices.Clone(chunks)
	for i := range all {
		if all[i].LSN < point.LSN {
			all[i].LSN, all[i].Epoch = point.LSN, point.Epoch
		}
	}
	return all
}

// follows checks that a record belongs to the history that the chunks are of. The
// log is behind them: it must come to where they are.
func (s *staging) follows(rec codec.Record) error {
	if s == nil || rec.LSN() > s.Target.LSN {
		return nil
	}
	if there := epochAt(s.Epochs, rec.LSN()); there != rec.Epoch() {
		return fmt.Errorf("%w: record LSN %d is of epoch %d, by the snapshot of %d", ErrFork, rec.LSN(), rec.Epoch(), there)
	}
	if rec.Kind() != codec.KindEpoch {
		return nil
	}
	bits, err := rec.EpochBits()
	if err == nil && !slices.Contains(s.Epochs, EpochStart{Epoch: rec.Epoch(), FirstLSN: rec.LSN(), Bits: bits}) {
		err = fmt.Errorf("%w: epoch %d began differently in the snapshot", ErrFork, rec.Epoch())
	}
	return err
}

// complete turns a staged tree into a namespace's: the chunks' entries go, and the
// checkpoint says what only the snapshot's end knew.
func (s *staging) complete(tx btree.Tx, point *checkpoint) (*digests, error) {
	if !s.FromStart {
		point.Records, point.Uploads = s.Target.Records, s.Target.Uploads
	}
	for _, c := range s.chunks {
		if err := tx.Delete(codec.StagedChunkKey(c.Start)); err != nil {
			return nil, err
		}
	}
	if err := tx.Delete(codec.StageKey()); err != nil {
		return nil, err
	}
	return digestStaged(tx, point)
}

// digestStaged is where the digests of a tree that was put together from chunks
// come from: all of its cells, at the moment when it is complete.
func digestStaged(tx btree.Tx, point *checkpoint) (*digests, error) {
	t, err := tallyReader(tx)
	if err != nil {
		return nil, err
	}
	point.Live = t.live
	return &t.digests, nil
}

// completes reports whether the flush ends at the record that a stage waits for.
func (f *flushTx) completes() bool {
	return f.staging != nil && f.m.last == f.staging.Target.LSN
}

// dropStaged removes what is below the prefix and older than the drop. What a chunk
// brought as of the drop, or later, stays: it has been through it. An object's
// chunks may have gaps here, so they are looked for.
func (f *flushTx) dropStaged(prefix []byte, lsn uint64) error {
	keys, err := keysUnder(f.tx, prefix)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(key []byte) bool { return f.staging.lsnOf(key) >= lsn })
	_, err = f.deleteKeys(keys)
	return err
}

// stageFlushed lets a stage be ready when its tree is complete.
func (n *Namespace) stageFlushed(point checkpoint) {
	if s := n.staging.Load(); s != nil && point.LSN == s.Target.LSN {
		n.staging.Store(nil)
		n.advanced.broadcast()
	}
}

// reachesTarget reports whether a stage waits for the record that was just applied.
// Uploads are from then on what the snapshot's end says: the log below does not
// tell of all of them.
func (n *Namespace) reachesTarget(lsn uint64) bool {
	s := n.staging.Load()
	if s == nil || lsn != s.Target.LSN {
		return false
	}
	if !s.FromStart {
		n.uploads = maps.Clone(s.uploads)
	}
	return true
}

func (n *Namespace) notReady() error {
	return fmt.Errorf("namespace %q: %w: it is still being copied; read from its source", n.name, ErrNotReady)
}
