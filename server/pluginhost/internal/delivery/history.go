package delivery

import (
	"context"

	"github.com/unisondb/unisondb/dbkernel"
)

// history is what a pump needs of a namespace. The kernel's handle is one, and
// tests have another that they can cut, trim and stop.
type history interface {
	// Status says where the log begins and ends.
	Status() dbkernel.Status
	// Position is at the commit LSN or, with sync_interval, beyond.
	Position() (dbkernel.Position, error)
	EpochTable() []dbkernel.EpochStart
	CommitLSN() uint64
	// follow opens a reader from LSN from on; the errors are those of dbkernel.Namespace.Tail.
	follow(name string, from uint64) (follower, error)
	// SnapshotChanges reads a page of what is there, from a place on; nil: the first.
	SnapshotChanges(ctx context.Context, from []byte, limit int) (dbkernel.ChangePage, error)
}

// follower reads a log in order, as dbkernel.Tail does.
type follower interface {
	next(ctx context.Context, maxBytes int) (run, error)
	Ack(lsn uint64)
	Close()
}

// run is a run of whole records.
type run struct {
	first, last uint64
	bytes       int
	changes     func(func(dbkernel.Change) error) error
}

// finder looks a namespace up.
type finder func() (history, error)

// find is the finder of the kernel's namespaces.
func (o Options) find() (history, error) {
	n, err := o.Source.Namespace(o.Namespace)
	if err != nil {
		return nil, err
	}
	return kernelHistory{n}, nil
}

type kernelHistory struct{ *dbkernel.Namespace }

func (h kernelHistory) follow(name string, from uint64) (follower, error) {
	t, err := h.Tail(name, from)
	if err != nil {
		return nil, err
	}
	return kernelFollower{t}, nil
}

type kernelFollower struct{ *dbkernel.Tail }

func (f kernelFollower) next(ctx context.Context, maxBytes int) (run, error) {
	r, err := f.Next(ctx, maxBytes)
	return run{first: r.First, last: r.Last, bytes: r.Bytes, changes: r.Changes}, err
}
