package replicator

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// Waits between repairs: the first is made at once; one that doesn't help is repeated ever more
// rarely, so that a difference that stays costs neither end much.
const (
	repairWait    = 5 * time.Second
	repairWaitMax = 30 * time.Minute
	// maxHelped is how many repairs in a row that changed something are followed by
	// the next one at once.
	maxHelped = 8
)

// maxTheirMarks bounds the source's marks that this end hasn't got to yet.
const maxTheirMarks = 4 * maxMarksSent

// inspector compares a replica with its source at the marks that both have, and remembers
// what came of it. It lives as long as its sink.
type inspector struct {
	now func() time.Time

	mu        sync.Mutex
	theirs    []dbkernel.Mark // of this stream's source, newest first
	compared  uint64          // the newest mark that was compared on this stream
	state     ComparisonStatus
	differs   dbkernel.Mark // the newest difference that ranges weren't asked for yet; LSN 0: none
	repairing bool
	wait      time.Duration // before the repair after the next
	next      time.Time     // when that may be
	helped    int           // repairs in a row that changed something
}

// ComparisonStatus is what comparing a replica with its source has found since the node
// started.
type ComparisonStatus struct {
	ComparedLSN uint64 // the newest mark that was compared; 0: none
	Equal       bool   // it was equal there
	Differences uint64 // marks that weren't
	Repaired    uint64 // cells that repairs changed
	// LastError is why the last repair failed or what it couldn't do; empty: it didn't.
	LastError string
}

// begin starts with another stream, maybe of another source.
func (i *inspector) begin() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.theirs, i.compared, i.differs = nil, 0, dbkernel.Mark{}
}

func (i *inspector) status() ComparisonStatus {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// hear remembers the source's marks, also those that this end hasn't got to yet.
func (i *inspector) hear(marks []dbkernel.Mark) {
	i.mu.Lock()
	defer i.mu.Unlock()
	fresh := len(marks)
	for n, m := range marks {
		if len(i.theirs) > 0 && m.LSN <= i.theirs[0].LSN {
			fresh = n
			break
		}
	}
	if fresh > 0 {
		i.theirs = append(marks[:fresh:fresh], i.theirs...)
		i.theirs = i.theirs[:min(len(i.theirs), maxTheirMarks)]
	}
}

// compare compares the newest mark that both ends have and that wasn't compared yet.
func (i *inspector) compare(ours []dbkernel.Mark) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, our := range ours {
		if our.LSN <= i.compared {
			return
		}
		for _, their := range i.theirs {
			if their.LSN == our.LSN && their.Epoch == our.Epoch {
				i.foundLocked(our, our.Digest == their.Digest)
				return
			}
		}
	}
}

func (i *inspector) foundLocked(m dbkernel.Mark, equal bool) {
	i.compared, i.state.ComparedLSN, i.state.Equal = m.LSN, m.LSN, equal
	if equal {
		i.differs, i.wait, i.next, i.helped = dbkernel.Mark{}, 0, time.Time{}, 0
		return
	}
	i.differs = m
	i.state.Differences++
}

// due reports whether something is to be repaired and its time has come; the mark, if its
// LSN isn't 0, is one whose ranges must be asked for first.
func (i *inspector) due(bad bool) (m dbkernel.Mark, due bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if i.repairing || !bad && i.differs.LSN == 0 || now.Before(i.next) {
		return m, false
	}
	i.repairing = true
	m, i.differs = i.differs, dbkernel.Mark{}
	return m, true
}

// done notes how a repair went.
func (i *inspector) done(changed int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.repairing = false
	i.state.Repaired += uint64(changed)
	i.state.LastError = ""
	if err != nil {
		i.state.LastError = err.Error()
	}
	if err == nil && changed > 0 && i.helped < maxHelped {
		i.helped++ // what a scrub finds next is right as soon as that was
		return
	}
	i.wait = min(max(2*i.wait, repairWait), repairWaitMax)
	i.next = i.now().Add(i.wait)
}

// inspect compares what this end has with the source's marks, and starts a repair where that
// is called for. A namespace that ranges can't repair is copied anew: the stream ends.
func (r *reception) inspect(ctx context.Context, marks []dbkernel.Mark) error {
	log := r.log
	if broken := brokenBy(log, log.Status()); broken != nil && broken.Retryable {
		return fmt.Errorf("%w: a new copy, since %w", errNextStream, broken)
	}
	if err := r.heal(ctx); err != nil {
		return err
	}
	r.inspector.hear(marks)
	r.inspector.compare(log.Marks())
	m, due := r.inspector.due(len(log.Integrity().BadRanges) > 0)
	if !due {
		return nil
	}
	r.o.Logger.Warn("the namespace isn't what its source has", "namespace", r.o.Namespace, "mark", m.LSN, "damaged_ranges", len(log.Integrity().BadRanges))
	if r.link.open == nil {
		if m.LSN != 0 {
			log.NoteDifference(m.LSN, nil)
		}
		r.inspector.done(0, fmt.Errorf("it can't be repaired over a stream that the source has opened: follow the source from here, or take a new copy"))
		return nil
	}
	r.wg.Go(func() {
		changed, err := r.repair(ctx, log, m)
		r.inspector.done(changed, err)
		if err != nil {
			r.o.Logger.Error("repair failed", "namespace", r.o.Namespace, "error", err)
		} else {
			r.o.Logger.Info("repaired", "namespace", r.o.Namespace, "cells", changed)
		}
	})
	return nil
}
