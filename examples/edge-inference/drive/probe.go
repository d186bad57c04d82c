package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/payments"
	"example.com/edge-inference/release"
)

// lookTimeout is when a relayer counts as away.
const lookTimeout = 2 * time.Second

// prober looks at one relayer for the moment at which the next release becomes visible there: its
// manifest, its record, its rows and its large object must come all at once.
type prober struct {
	node  *client.Client
	tally *tally
	last  int // release that was seen
}

func (b *prober) probe(ctx context.Context, every time.Duration) {
	pace(ctx, every, func() {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		seen, err := b.look(ctx)
		if err != nil {
			b.tally.count(&b.tally.skipped, nil) // a relayer that is away says nothing about what it has
			return
		}
		b.tally.count(&b.tally.probes, nil)
		if err := seen.check(); err != nil {
			b.tally.count(&b.tally.torn, fmt.Errorf("%s: %w", b.node.Address(), err))
		}
		if seen.manifest.Release > b.last {
			b.last = seen.manifest.Release
			b.tally.count(&b.tally.arrivals, nil)
		}
	})
}

// #region look

// look sees what there is of the next release.
func (b *prober) look(ctx context.Context) (s sight, err error) {
	s.next = b.last + 1
	// The object is asked for first: it must not be there before the others are.
	if s.early, err = b.hasObject(ctx, release.WeightsKey(s.next)); err != nil {
		return s, err
	}
	first, last := payments.CardID(0), payments.CardID(payments.Cards-1)
	answer, err := b.node.Txn(ctx, client.Txn{Then: []client.Op{
		client.OpGet([]byte(release.ManifestKey)),
		client.OpGet([]byte(release.RecordKey(s.next))),
		client.OpGetRow([]byte(release.FeaturesPrefix(s.next) + first)),
		client.OpGetRow([]byte(release.FeaturesPrefix(s.next) + last)),
	}})
	if err != nil {
		return s, err
	}
	s.record, s.first, s.last = answer.Results[1], answer.Results[2].Found, answer.Results[3].Found
	if answer.Results[0].Found {
		if err := json.Unmarshal(answer.Results[0].Value, &s.manifest); err != nil {
			return s, err
		}
	}
	// And it must not be missing once they are.
	s.late, err = b.hasObject(ctx, release.WeightsKey(s.next))
	return s, err
}

// #endregion look

func (b *prober) hasObject(ctx context.Context, key string) (bool, error) {
	_, err := b.node.Objects().Stat(ctx, []byte(key))
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// sight is what was visible of a release: before (early), at and after (late) one state.
type sight struct {
	next        int
	manifest    release.Manifest // in force
	record      client.OpResult  // of the next one
	first, last bool             // of its rows
	early, late bool             // its object
}

// check says what was visible without the rest.
func (s sight) check() error {
	arrived := s.manifest.Release >= s.next
	if arrived != s.record.Found {
		return fmt.Errorf("release %d is in force, and the record of release %d is there: %v", s.manifest.Release, s.next, s.record.Found)
	}
	if !arrived {
		if s.early || s.first || s.last {
			return fmt.Errorf("release %d is in force, and of release %d are there: object %v, first row %v, last row %v", s.manifest.Release, s.next, s.early, s.first, s.last)
		}
		return nil
	}
	var r release.Record
	if err := json.Unmarshal(s.record.Value, &r); err != nil {
		return err
	}
	// A release of policy alone has no weights and rows of its own.
	if own := r.Weights == release.WeightsKey(s.next); own != s.first || own != s.last || own != s.late {
		return fmt.Errorf("release %d has weights and features of its own: %v; there are: object %v, first row %v, last row %v", s.next, own, s.late, s.first, s.last)
	}
	return nil
}
