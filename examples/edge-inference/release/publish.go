package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/payments"
)

// Draft is what a new release changes; what it leaves out stays as it is.
type Draft struct {
	Weights  []byte // with profiles, and not without
	Profiles map[string]payments.Profile
	Policy   *Policy
}

// Publish makes a draft the next release: one transaction, so that all of it is visible at one
// LSN, on every node. Where somebody else published meanwhile, it begins again on top of that.
func Publish(ctx context.Context, hub *client.Client, d Draft) (Record, client.Position, error) {
	for {
		record, p, err := tryPublish(ctx, hub, d)
		if !errors.Is(err, client.ErrConflict) {
			return record, p, err
		}
	}
}

// #region publish

func tryPublish(ctx context.Context, hub *client.Client, d Draft) (r Record, p client.Position, err error) {
	tx, err := hub.Begin(ctx)
	if err != nil {
		return r, p, err
	}
	defer func() {
		if err != nil {
			_ = tx.Abort(ctx) // it may be over; an idle one ends by itself
		}
	}()
	// What is read here joins the transaction: if another release comes in between, the commit
	// answers ErrConflict.
	if r, err = inForce(ctx, tx); err != nil {
		return r, p, err
	}
	r.Release++
	if err = r.apply(ctx, tx, d); err != nil {
		return r, p, err
	}
	for i, value := range r.Policy.values() {
		if err = tx.Put(ctx, []byte(policyKeys[i]), value); err != nil {
			return r, p, err
		}
	}
	if err = tx.Put(ctx, []byte(RecordKey(r.Release)), marshal(r)); err != nil {
		return r, p, err
	}
	if err = tx.Put(ctx, []byte(ManifestKey), marshal(r.Manifest)); err != nil {
		return r, p, err
	}
	done, err := tx.Commit(ctx)
	return r, done.Position, err
}

// apply writes a draft's weights and features under new names, and takes over its policy.
func (r *Record) apply(ctx context.Context, tx *client.Tx, d Draft) error {
	if d.Policy != nil {
		r.Policy = *d.Policy
	}
	if err := r.Policy.Check(); err != nil {
		return err
	}
	if d.Weights == nil {
		if r.Weights == "" {
			return errors.New("the first release needs weights: train a model first")
		}
		return nil
	}
	sum := sha256.Sum256(d.Weights)
	r.Weights, r.WeightsSHA256 = WeightsKey(r.Release), hex.EncodeToString(sum[:])
	r.Features, r.FeaturesSHA256 = FeaturesPrefix(r.Release), sumOf(d.Profiles)
	if err := tx.AppendObject(ctx, []byte(r.Weights), bytes.NewReader(d.Weights), int64(len(d.Weights))); err != nil {
		return fmt.Errorf("upload the weights: %w", err)
	}
	for card, profile := range d.Profiles {
		if err := tx.PutRow(ctx, []byte(r.Features+card), profile.Row()); err != nil {
			return fmt.Errorf("write the features of %s: %w", card, err)
		}
	}
	return nil
}

// #endregion publish

// inForce is the release that a new one follows; the zero value where there is none.
func inForce(ctx context.Context, tx *client.Tx) (r Record, err error) {
	v, err := tx.Get(ctx, []byte(ManifestKey))
	if errors.Is(err, client.ErrNotFound) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if r.Manifest, err = parseManifest(v.Data); err != nil {
		return r, err
	}
	found := make([]client.OpResult, len(policyKeys))
	for i, key := range policyKeys {
		v, err := tx.Get(ctx, []byte(key))
		if err != nil {
			return r, fmt.Errorf("read key %q: %w", key, err)
		}
		found[i] = client.OpResult{Found: true, Value: v.Data}
	}
	r.Policy, err = parsePolicy(found)
	return r, err
}
