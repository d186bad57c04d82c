package dbkernel

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// open puts in front of the owner's group what has to be there: the record that
// begins this process's epoch and the end of uploads that an earlier epoch left
// open, or a mark where the memtable is full.
func (n *Namespace) open(p *pending) error {
	if !n.began {
		return n.beginEpoch(p)
	}
	if n.mark.CompareAndSwap(markDue, markWritten) {
		p.marks = true
		p.add(codec.NewMarkRecord(p.next, p.epoch, p.time))
	}
	return nil
}

// beginEpoch raises the start part of the epoch. The number is durable in
// meta.json before the epoch's record is appended, so that it is never used
// twice, not even by a copy of the directory that is started again.
func (n *Namespace) beginEpoch(p *pending) error {
	n.settled()
	p.begins = true
	if n.pendingEpoch == nil || n.pendingEpoch.FirstLSN != p.next {
		start, err := n.nextEpoch(p.next)
		if err != nil {
			return err
		}
		next := n.meta
		next.LastEpoch = start.Epoch
		next.Epochs = append(append([]EpochStart(nil), *n.epochs.Load()...), start)
		if err := next.write(n.db.opts.FS, n.dir); err != nil {
			if isDiskFull(err) {
				return diskFull(err)
			}
			return n.freeze(fmt.Errorf("writing %s: %w", metaName, err))
		}
		n.meta, n.pendingEpoch = next, &start
	}
	p.add(codec.NewEpochRecord(p.next, n.pendingEpoch.Epoch, p.time, n.pendingEpoch.Bits))
	if len(n.uploads) > 0 {
		var drop codec.Builder
		for id := range n.uploads {
			drop.Drop(id)
		}
		p.add(drop.Seal(p.next, p.epoch, p.time))
	}
	return nil
}

func (n *Namespace) nextEpoch(first uint64) (EpochStart, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return EpochStart{}, err
	}
	last := n.meta.LastEpoch
	if table := *n.epochs.Load(); len(table) > 0 {
		last = max(last, table[len(table)-1].Epoch)
	}
	epoch := last + 1
	if last == 0 {
		epoch = epochStarts // term 1, start 0
	} else if epoch%epochStarts == 0 {
		return EpochStart{}, fmt.Errorf("%w: the namespace was started %d times in one term: move it to raise the term", ErrInvalid, epochStarts)
	}
	return EpochStart{Epoch: epoch, FirstLSN: first, Bits: binary.LittleEndian.Uint64(b[:])}, nil
}

// noteEpoch adds an epoch record that is in the log to the table.
func (n *Namespace) noteEpoch(rec codec.Record) error {
	bits, err := rec.EpochBits()
	if err != nil {
		return err
	}
	start := EpochStart{Epoch: rec.Epoch(), FirstLSN: rec.LSN(), Bits: bits}
	table := append(append([]EpochStart(nil), *n.epochs.Load()...), start)
	n.epochs.Store(&table)
	return nil
}

// epochAt is the epoch of a record of this history, 0 if there is none.
func epochAt(table []EpochStart, lsn uint64) uint64 {
	for i := len(table) - 1; i >= 0; i-- {
		if table[i].FirstLSN <= lsn {
			return table[i].Epoch
		}
	}
	return 0
}

// epochsUpTo is the part of the table that a record has behind it.
func epochsUpTo(table []EpochStart, lsn uint64) []EpochStart {
	i := len(table)
	for i > 0 && table[i-1].FirstLSN > lsn {
		i--
	}
	return table[:i:i]
}
