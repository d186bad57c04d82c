package replicatortest

import (
	"context"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// NoSnapshots is what a log in memory lacks of a replicator.Log: it has records and nothing else.
type NoSnapshots struct{}

var errNoSnapshots = errors.New("a log in memory has no snapshots")

// SnapshotCost implements replicator.Log.
func (NoSnapshots) SnapshotCost() (logBytes, snapshotBytes int64) { return 0, 0 }

// HoldFor implements replicator.Log: nothing trims it by age.
func (NoSnapshots) HoldFor(string, uint64) error { return nil }

// ReadChunk implements replicator.Log.
func (NoSnapshots) ReadChunk(context.Context, dbkernel.KeyRange, int) (dbkernel.Chunk, error) {
	return dbkernel.Chunk{}, errNoSnapshots
}

// SnapshotEnd implements replicator.Log.
func (NoSnapshots) SnapshotEnd(context.Context) (dbkernel.SnapshotEnd, error) {
	return dbkernel.SnapshotEnd{}, errNoSnapshots
}

// Marks implements replicator.Log.
func (NoSnapshots) Marks() []dbkernel.Mark { return nil }

// Digests implements replicator.Log.
func (NoSnapshots) Digests(uint64) (d [dbkernel.DigestRanges]uint64, err error) {
	return d, dbkernel.ErrNotFound
}

// ReadRange implements replicator.Log.
func (NoSnapshots) ReadRange(context.Context, int, []byte, int) (c dbkernel.Chunk, more bool, err error) {
	return c, false, errNoSnapshots
}

// RepairRange implements replicator.Log.
func (NoSnapshots) RepairRange(context.Context, int, dbkernel.Chunk) (int, error) {
	return 0, errNoSnapshots
}

// NoteDifference implements replicator.Log.
func (NoSnapshots) NoteDifference(uint64, []int) {}

// HealLog implements replicator.Log.
func (NoSnapshots) HealLog(context.Context) error { return errNoSnapshots }

// Integrity implements replicator.Log.
func (NoSnapshots) Integrity() dbkernel.Integrity { return dbkernel.Integrity{} }

// NoStages is what a store lacks of a replicator.Store that keeps no copies.
type NoStages struct{}

// Stage implements replicator.Store.
func (NoStages) Stage(string, dbkernel.Lineage) (replicator.Stage, error) { return nil, errNoSnapshots }

// Staged implements replicator.Store.
func (NoStages) Staged(namespace string) (replicator.Stage, error) {
	return nil, fmt.Errorf("stage of %q: %w", namespace, dbkernel.ErrNamespaceNotFound)
}

// Truncate implements replicator.Store.
func (NoStages) Truncate(context.Context, string, uint64, string) error { return errNoSnapshots }

// Accepted implements replicator.Store.
func (NoStages) Accepted(string) (l dbkernel.Lineage) { return l }
