package replicator

import (
	"context"

	"github.com/unisondb/unisondb/dbkernel"
)

// SourceLog is a log that a Source streams.
type SourceLog interface {
	// Status says where the namespace stands. It is cheap.
	Status() dbkernel.Status
	// EpochTable lists the epochs of the log, oldest first.
	EpochTable() []dbkernel.EpochStart
	// Tail opens a reader of committed records from LSN from on, which pins
	// the log under name until closed. dbkernel.ErrTrimmed where the log
	// doesn't reach back to from; dbkernel.ErrGap where from is beyond the end + 1.
	Tail(name string, from uint64) (Reader, error)
	// HoldFor says durably, under a name, up to where one who isn't connected all the
	// time has the log: age trims nothing above. It is cheap but for a name's first call.
	HoldFor(name string, lsn uint64) error

	// SnapshotCost says roughly what following costs in bytes: by the log, from
	// its first record on, and by a snapshot.
	SnapshotCost() (logBytes, snapshotBytes int64)
	// ReadChunk reads about maxBytes of the cells of a range, at the newest state
	// that may be read. The chunk's End says how far it got.
	ReadChunk(ctx context.Context, r dbkernel.KeyRange, maxBytes int) (dbkernel.Chunk, error)
	// SnapshotEnd says what completes the chunks that were read before the call.
	SnapshotEnd(ctx context.Context) (dbkernel.SnapshotEnd, error)

	// Marks lists the newest marks that the B+tree has the digests of, newest first.
	Marks() []dbkernel.Mark
	// Digests are those of all ranges at a mark. dbkernel.ErrNotFound.
	Digests(mark uint64) ([dbkernel.DigestRanges]uint64, error)
	// ReadRange reads about maxBytes of the cells of a range of the digests, from
	// a key on; more says that the range goes on behind them.
	ReadRange(ctx context.Context, r int, from []byte, maxBytes int) (c dbkernel.Chunk, more bool, err error)
	// Integrity says what is known to be damaged.
	Integrity() dbkernel.Integrity
}

// Reader follows a log. It is for one goroutine, except Ack.
type Reader interface {
	// Next blocks until there is something committed to read, and returns
	// about maxBytes at most (at least one record). When ctx ends first nothing
	// is lost: the next call goes on. dbkernel.ErrTrimmed when the pin was broken.
	Next(ctx context.Context, maxBytes int) (dbkernel.Run, error)
	// Ack moves the pin: the log up to lsn isn't needed any more. Safe beside Next.
	Ack(lsn uint64)
	// Close ends the reader and its pin.
	Close()
}

// SinkLog is a replica's log, which a Sink appends to.
type SinkLog interface {
	Status() dbkernel.Status
	EpochTable() []dbkernel.EpochStart
	// Append adds records of the owner and returns when they are durable here.
	// Records that are there already are skipped if identical. commit is the owner's
	// commit LSN. dbkernel.ErrGap, ErrFork, ErrDamaged.
	Append(ctx context.Context, records [][]byte, commit uint64) error
	// SetCommit raises the commit LSN without records.
	SetCommit(commit uint64)

	Marks() []dbkernel.Mark
	Digests(mark uint64) ([dbkernel.DigestRanges]uint64, error)
	Integrity() dbkernel.Integrity
	// NoteDifference reports that the digests differ from the source's at a mark,
	// and in which ranges, as far as that is known.
	NoteDifference(mark uint64, ranges []int)
	// RepairRange makes the cells of a range of the digests, within the chunk's
	// key range, those of the chunk, as far as nothing newer has happened to them
	// here. It says how many that changed.
	RepairRange(ctx context.Context, r int, c dbkernel.Chunk) (changed int, err error)
	// HealLog has the log begin behind the records that are known to be damaged, once
	// the B+tree has what they say. dbkernel.ErrNotCaughtUp: they aren't committed yet.
	HealLog(ctx context.Context) error
}

// Log is a namespace as replication sees it.
type Log interface {
	SourceLog
	SinkLog
}

// Stage is a copy of a namespace in the making. It survives the process at any moment,
// and nothing of it is read before Install. dbkernel.Stage says more of each method.
type Stage interface {
	Lineage() dbkernel.Lineage
	// EpochTable is the history that the chunks belong to.
	EpochTable() []dbkernel.EpochStart
	Chunks() []dbkernel.StagedChunk
	// Rebase makes epochs the stage's history and drops chunks that keep doesn't want.
	Rebase(epochs []dbkernel.EpochStart, keep func(dbkernel.StagedChunk) bool) error
	Missing() []dbkernel.KeyRange
	// Put adds chunks in one transaction; they are durable when it returns.
	Put(ctx context.Context, chunks []dbkernel.Chunk) error
	// Finish begins the log behind the lowest chunk.
	Finish(ctx context.Context, end dbkernel.SnapshotEnd) error
	// FromStart begins a log that needs no chunks; the stage is ready at target.
	FromStart(epochs []dbkernel.EpochStart, target uint64) error
	// Log takes the records; nil before Finish or FromStart.
	Log() Log
	// Ready reports whether the stage can be installed.
	Ready() bool
	// WaitReady waits until it can be.
	WaitReady(ctx context.Context) error
	// Install makes the stage the namespace; what was there goes aside.
	Install(ctx context.Context, reason string) (Log, error)
	Discard() error
}

// Store finds and makes a node's namespaces.
type Store interface {
	// Open answers dbkernel.ErrNamespaceNotFound where there is none.
	Open(namespace string) (Log, error)
	// Stage opens the stage of a namespace, or makes an empty one. One of
	// another lineage is discarded first.
	Stage(namespace string, lineage dbkernel.Lineage) (Stage, error)
	// Staged opens the stage of a namespace. dbkernel.ErrNamespaceNotFound.
	Staged(namespace string) (Stage, error)
	// Truncate cuts off the records above LSN after, which are set aside first.
	// The handle that Open gave is superseded. dbkernel.ErrPastFork.
	Truncate(ctx context.Context, namespace string, after uint64, reason string) error
	// Accepted is the lineage that an operator named for the namespace; zero: none.
	Accepted(namespace string) dbkernel.Lineage
}

// KernelStore makes a Store of the kernel's DB. Namespaces that are to be
// followed must have been configured as replicas. Nothing is accepted: what an operator
// names is for whoever embeds the store to answer.
func KernelStore(db *dbkernel.DB) Store { return kernelStore{db} }

type kernelStore struct{ db *dbkernel.DB }

func (s kernelStore) Open(namespace string) (Log, error) {
	return kernelLogOf(s.db.Namespace(namespace))
}

func (s kernelStore) Stage(namespace string, lineage dbkernel.Lineage) (Stage, error) {
	return kernelStageOf(s.db.Stage(namespace, lineage))
}

func (s kernelStore) Staged(namespace string) (Stage, error) {
	return kernelStageOf(s.db.Staged(namespace))
}

func (s kernelStore) Truncate(ctx context.Context, namespace string, after uint64, reason string) error {
	_, err := s.db.Truncate(ctx, namespace, after, reason)
	return err
}

func (s kernelStore) Accepted(string) dbkernel.Lineage { return dbkernel.Lineage{} }

func kernelLogOf(n *dbkernel.Namespace, err error) (Log, error) {
	if err != nil {
		return nil, err
	}
	return kernelLog{n}, nil
}

// kernelLog is a *dbkernel.Namespace; only Tail needs the interface's type.
type kernelLog struct{ *dbkernel.Namespace }

func (l kernelLog) Tail(name string, from uint64) (Reader, error) {
	t, err := l.Namespace.Tail(name, from)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func kernelStageOf(s *dbkernel.Stage, err error) (Stage, error) {
	if err != nil {
		return nil, err
	}
	return kernelStage{s}, nil
}

// kernelStage is a *dbkernel.Stage; Log and Install need the interface's types.
type kernelStage struct{ *dbkernel.Stage }

func (s kernelStage) Log() Log {
	if n := s.Stage.Log(); n != nil {
		return kernelLog{n}
	}
	return nil
}

func (s kernelStage) Install(ctx context.Context, reason string) (Log, error) {
	return kernelLogOf(s.Stage.Install(ctx, reason))
}
