package dbkernel

import (
	"context"
	"fmt"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Append adds records of the owner to a replica and returns when they are
// durable here. Each slice holds whole records, as in a Run, and is kept: it
// must not be changed afterwards. What the replica has already is passed over.
// commit is the owner's commit LSN; this node uses the lesser of it and its own
// durable LSN. ErrGap where the first record doesn't follow, ErrFork where it
// belongs to another history, ErrDamaged where a checksum is wrong: then nothing
// was added.
func (n *Namespace) Append(ctx context.Context, records [][]byte, commit uint64) error {
	if !n.opts.Load().Replica {
		return fmt.Errorf("%w: namespace %q is owned by this node and takes no records", ErrInvalid, n.name)
	}
	if err := n.acquire(); err != nil {
		return err
	}
	defer n.release()
	r := newRequest()
	r.upTo = commit
	for _, b := range records {
		for len(b) > 0 {
			rec, _, rest, err := codec.CutRecord(b)
			if err != nil {
				return asDamage(err)
			}
			// What can't be applied must not get as far as the log.
			if err := checkForeign(rec); err != nil {
				return asDamage(err)
			}
			r.replica, r.bytes, b = append(r.replica, rec), r.bytes+len(rec), rest
		}
	}
	if len(r.replica) == 0 {
		n.SetCommit(commit)
		return nil
	}
	return n.submit(ctx, r)
}

// checkForeign checks that a record whose checksum is right can be applied.
func checkForeign(rec codec.Record) error {
	switch rec.Kind() {
	case codec.KindMark:
		return nil
	case codec.KindEpoch:
		_, err := rec.EpochBits()
		return err
	case codec.KindBatch:
		return rec.Ops(func(op codec.Op) (err error) {
			switch op.Kind {
			case codec.OpManifest:
				_, err = codec.DecodeManifest(op.Value)
			case codec.OpDeleteRow:
				_, err = codec.SplitRowPrefix(op.Key)
			}
			return err
		})
	default:
		return fmt.Errorf("%w: record LSN %d is of kind %d: use a newer build", ErrNewerFormat, rec.LSN(), rec.Kind())
	}
}

// SetCommit tells a replica the owner's commit LSN without records.
func (n *Namespace) SetCommit(commit uint64) {
	if err := n.acquireLog(); err != nil {
		return // it learns the number with the next records
	}
	defer n.releaseLog()
	if !n.opts.Load().Replica {
		return
	}
	raise(&n.commit, min(commit, n.durable.Load()))
	n.advanced.broadcast()
	n.scheduleFlush()
}

// admitReplica adds the owner's records to the group, if they extend this
// node's own history.
func (n *Namespace) admitReplica(p *pending, r *request) error {
	at := p.head
	var fresh []codec.Record
	for _, rec := range r.replica {
		if rec.LSN() < n.head.next {
			n.settled()
			if err := n.sameHistory(rec); err != nil {
				return err
			}
			continue
		}
		if rec.LSN() < p.next {
			continue // an earlier request of the group brought it
		}
		if err := at.follow(rec); err != nil {
			return err
		}
		if err := n.staging.Load().follows(rec); err != nil {
			return err
		}
		fresh = append(fresh, rec)
	}
	for _, rec := range fresh {
		p.add(rec)
	}
	p.upTo = max(p.upTo, r.upTo)
	return nil
}

// sameHistory checks that a record that this node has already is its own.
func (n *Namespace) sameHistory(rec codec.Record) error {
	table := *n.epochs.Load()
	if here := epochAt(table, rec.LSN()); here != rec.Epoch() {
		return fmt.Errorf("%w: record LSN %d is of epoch %d here and of %d there", ErrFork, rec.LSN(), here, rec.Epoch())
	}
	if rec.Kind() != codec.KindEpoch {
		return nil
	}
	bits, err := rec.EpochBits()
	if err == nil && !slices.Contains(table, EpochStart{Epoch: rec.Epoch(), FirstLSN: rec.LSN(), Bits: bits}) {
		err = fmt.Errorf("%w: epoch %d began differently there", ErrFork, rec.Epoch())
	}
	return err
}

// follow checks that a record extends the history, and moves behind it.
func (h *head) follow(rec codec.Record) error {
	switch {
	case rec.LSN() != h.next:
		return fmt.Errorf("%w: record LSN %d came, %d is next", ErrGap, rec.LSN(), h.next)
	case rec.Kind() == codec.KindEpoch && rec.Epoch() <= h.epoch,
		rec.Kind() != codec.KindEpoch && rec.Epoch() != h.epoch:
		return fmt.Errorf("%w: record LSN %d is of epoch %d, behind epoch %d", ErrFork, rec.LSN(), rec.Epoch(), h.epoch)
	case rec.Time() < h.time:
		return fmt.Errorf("%w: record LSN %d is older than the one before it", ErrFork, rec.LSN())
	}
	h.next, h.epoch, h.time = rec.LSN()+1, rec.Epoch(), rec.Time()
	return nil
}
