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
}

// Log is a namespace as replication sees it.
type Log interface {
	SourceLog
	SinkLog
}

// Store finds and makes a node's namespaces.
type Store interface {
	// Open answers dbkernel.ErrNamespaceNotFound where there is none.
	Open(namespace string) (Log, error)
	// Create makes an empty replica of the given lineage; its first files are
	// fsynced when it returns.
	Create(namespace string, lineage dbkernel.Lineage) (Log, error)
}

// KernelStore makes a Store of the kernel's DB. Namespaces that are to be
// followed must have been configured as replicas.
func KernelStore(db *dbkernel.DB) Store { return kernelStore{db} }

type kernelStore struct{ db *dbkernel.DB }

func (s kernelStore) Open(namespace string) (Log, error) {
	return kernelLogOf(s.db.Namespace(namespace))
}

func (s kernelStore) Create(namespace string, lineage dbkernel.Lineage) (Log, error) {
	return kernelLogOf(s.db.Create(namespace, lineage))
}

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
