package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// retryBatch is how many letters a retry sends at once.
const retryBatch = 1000

// Retry sends letters again through the target, in order, and takes those off that
// are accepted now; no ids: all. It answers how many were accepted and how many of those
// asked for are left. ErrDeadLetterNotFound before anything is sent. What
// is accepted before an error stays so.
func (d *DeadLetters) Retry(ctx context.Context, target Target, ids ...string) (accepted, left int, err error) {
	select {
	case d.retrying <- struct{}{}:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	defer func() { <-d.retrying }()
	letters, err := d.read()
	if err != nil {
		return 0, 0, fmt.Errorf("reading the dead letters of notifier %q: %w", d.opts.Name, err)
	}
	if letters, err = d.chosen(letters, ids); err != nil {
		return 0, 0, err
	}
	left = len(letters)
	for _, batch := range batches(letters) {
		n, err := d.retryBatch(ctx, target, batch)
		accepted, left = accepted+n, left-n
		if err != nil {
			return accepted, left, fmt.Errorf("retrying dead letters of notifier %q: %w", d.opts.Name, err)
		}
	}
	return accepted, left, nil
}

// chosen picks the letters that are asked for.
func (d *DeadLetters) chosen(letters []letter, ids []string) ([]letter, error) {
	if len(ids) == 0 {
		return letters, nil
	}
	byID := make(map[string]letter, len(letters))
	for _, l := range letters {
		byID[strconv.FormatUint(l.id, 10)] = l
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	chosen := make([]letter, 0, len(ids))
	for _, id := range ids {
		l, there := byID[id]
		if !there {
			return nil, fmt.Errorf("%w: notifier %q has none of id %q: list them by 'unisondb operator plugin dead-letters list %s'",
				ErrDeadLetterNotFound, d.opts.Name, id, d.opts.Name)
		}
		chosen = append(chosen, l)
	}
	return chosen, nil
}

// batches puts letters into the order of their changes and takes them apart by namespace and
// size.
func batches(letters []letter) (all [][]letter) {
	slices.SortStableFunc(letters, func(a, b letter) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.lineage, b.lineage),
			cmp.Compare(a.event.Epoch, b.event.Epoch), cmp.Compare(a.event.Lsn, b.event.Lsn), cmp.Compare(a.event.Index, b.event.Index))
	})
	bytes := 0
	for i, l := range letters {
		size := sizeOf(l.event)
		if i == 0 || letters[i-1].namespace != l.namespace || letters[i-1].lineage != l.lineage ||
			len(all[len(all)-1]) >= retryBatch || bytes+size > windowBytes {
			all, bytes = append(all, nil), 0
		}
		last := &all[len(all)-1]
		*last, bytes = append(*last, l), bytes+size
	}
	return all
}

// retryBatch sends letters of one namespace. An error where the other side can't be
// reached, and where the result can't be noted: then what was accepted is sent once
// more by the next retry.
func (d *DeadLetters) retryBatch(ctx context.Context, target Target, batch []letter) (accepted int, err error) {
	events := make([]*pluginv1.Event, len(batch))
	for i, l := range batch {
		events[i] = l.event
	}
	r, err := target.Notify(ctx, &pluginv1.NotifyRequest{Namespace: batch[0].namespace, Lineage: batch[0].lineage, Events: events})
	if err != nil {
		return 0, err
	}
	a, err := judge(events, r)
	if err != nil {
		return 0, err
	}
	done := map[uint64]bool{}
	refused := map[uint64]letter{}
	for i, l := range batch {
		switch rejection := a.rejected[i]; {
		case rejection == nil:
			done[l.id] = true
		case rejection.GetCause() == pluginv1.Rejection_CAUSE_REFUSED, rejection.GetCause() == pluginv1.Rejection_CAUSE_INVALID:
			l.refusals, l.reason, l.last = l.refusals+1, rejection.GetReason(), time.Now()
			refused[l.id] = l
		}
	}
	if err := d.update(done, refused); err != nil {
		return 0, err
	}
	if reason, stalled := a.stalled(); stalled {
		return len(done), errors.New(reason)
	}
	return len(done), nil
}

// update takes letters off and puts others in their place.
func (d *DeadLetters) update(done map[uint64]bool, changed map[uint64]letter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	letters, err := d.readLocked()
	if err != nil {
		return err
	}
	kept := letters[:0]
	for _, l := range letters {
		if done[l.id] {
			continue
		}
		if with, ok := changed[l.id]; ok {
			l = with
		}
		kept = append(kept, l)
	}
	return d.rewrite(kept, d.next)
}
