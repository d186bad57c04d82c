package replicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// repair makes the ranges right that the source has otherwise, over streams of its own beside
// the one that follows. Only one chunk is in memory at a time.
func (r *reception) repair(ctx context.Context, log Log, m dbkernel.Mark) (changed int, err error) {
	if m.LSN != 0 {
		if err := r.askWhere(ctx, log, m); err != nil {
			return 0, err
		}
	}
	bad := log.Integrity().BadRanges
	if len(bad) == 0 {
		return 0, nil
	}
	return r.askForRanges(ctx, log, bad)
}

// askWhere compares the digests of all ranges at a mark with the source's.
func (r *reception) askWhere(ctx context.Context, log Log, m dbkernel.Mark) error {
	ours, err := log.Digests(m.LSN)
	if err != nil {
		return fmt.Errorf("digests at LSN %d: %w", m.LSN, err)
	}
	var theirs *digests
	err = r.ask(ctx, hello{purpose: dbv1.Purpose_PURPOSE_DIGESTS, digests: m.LSN}, log, func(msg *dbv1.SourceMessage) (bool, error) {
		if msg.GetDigests() == nil {
			return false, nil
		}
		d, err := parseDigests(msg.GetDigests(), m.LSN)
		theirs = &d
		return true, err
	})
	if err != nil {
		return fmt.Errorf("the source's digests at LSN %d: %w", m.LSN, err)
	}
	ranges := differing(ours, *theirs)
	if len(ranges) == 0 {
		return fmt.Errorf("the mark at LSN %d differs from the source's, and the digests of all ranges are equal: the source's mark is damaged", m.LSN)
	}
	log.NoteDifference(m.LSN, ranges)
	return nil
}

// askForRanges repairs ranges from what the source has in them.
func (r *reception) askForRanges(ctx context.Context, log Log, ranges []int) (changed int, err error) {
	z, err := newChunkDecoder()
	if err != nil {
		return 0, fmt.Errorf("preparing decompression: %w", err)
	}
	defer z.Close()
	in := chunkReader{zstd: z}
	err = r.ask(ctx, hello{purpose: dbv1.Purpose_PURPOSE_REPAIR, ranges: ranges}, log, func(msg *dbv1.SourceMessage) (bool, error) {
		if msg.GetSnapshotEnd() != nil {
			return true, nil
		}
		if msg.GetChunk() == nil {
			return false, nil
		}
		c, done, err := in.add(msg.GetChunk())
		if err != nil || !done {
			return false, err
		}
		if !slices.Contains(ranges, c.digestRange) {
			return false, refuse(CodeInvalidMessage, "range %d came, which wasn't asked for", c.digestRange)
		}
		n, err := log.RepairRange(ctx, c.digestRange, c.Chunk)
		if err != nil {
			return false, fmt.Errorf("range %d: %w", c.digestRange, err)
		}
		changed += n
		return false, nil
	})
	return changed, err
}

// ask opens a stream for something and hears its answer until take has all of it.
func (r *reception) ask(ctx context.Context, h hello, log Log, take func(*dbv1.SourceMessage) (done bool, err error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, end, err := r.link.open(ctx)
	if err != nil {
		return err
	}
	defer end(nil)
	ours, _ := historyOf(log)
	asks := r.hello(h.purpose, ours)
	asks.digests, asks.ranges = h.digests, h.ranges
	if err := say(stream, asks.proto()); err != nil {
		return err
	}
	var stuck stall
	err = hear(ctx, cancel, stream, r.link, func(m *dbv1.SourceMessage) (time.Duration, error) {
		if err := stuck.noteCopy(m, time.Now()); err != nil {
			return 0, err
		}
		if a := m.GetAnswer(); a != nil {
			return 0, refusalFrom(a.GetRefused())
		}
		done, err := take(m)
		if err == nil && done {
			err = errAnswered
		}
		return 0, err
	})
	if errors.Is(err, errAnswered) {
		return nil
	}
	return streamFailed(ctx, err)
}

// errAnswered ends a stream that has brought all that was asked for.
var errAnswered = refuse(CodeUnavailable, "all that was asked for has come")
