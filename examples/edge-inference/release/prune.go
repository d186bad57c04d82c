package release

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/unisondb/unisondb/sdk/client"
)

// recordPrefix begins the keys of all records.
const recordPrefix = "record/"

// Prune deletes weights, features and records that none of the newest releases needs, and says
// which releases they were of. What an edge has in memory it keeps.
func Prune(ctx context.Context, hub *client.Client, keep int) (pruned []int, err error) {
	old, needed, err := divide(ctx, hub, keep)
	if err != nil {
		return nil, err
	}
	for _, r := range old {
		if err := r.remove(ctx, hub, needed[r.Weights]); err != nil {
			return pruned, fmt.Errorf("prune release %d: %w", r.Release, err)
		}
		pruned = append(pruned, r.Release)
	}
	return pruned, nil
}

// divide answers the records that may go, the oldest first, and the weights that the others need.
func divide(ctx context.Context, hub *client.Client, keep int) (old []Record, needed map[string]bool, err error) {
	for item, err := range hub.KV().List(ctx, client.ListOptions{Prefix: []byte(recordPrefix)}) {
		if err != nil {
			return nil, nil, fmt.Errorf("list the records: %w", err)
		}
		var r Record
		if err := json.Unmarshal(item.Value, &r); err != nil {
			return nil, nil, fmt.Errorf("read the record of key %q: %w", item.Key, err)
		}
		old = append(old, r)
	}
	cut := max(len(old)-keep, 0)
	needed = map[string]bool{}
	for _, r := range old[cut:] {
		needed[r.Weights] = true
	}
	return old[:cut], needed, nil
}

// remove deletes a release in one transaction; weights and features stay where others need them.
func (r Record) remove(ctx context.Context, hub *client.Client, needed bool) (err error) {
	tx, err := hub.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Abort(ctx) // it may be over; an idle one ends by itself
		}
	}()
	if err = tx.Delete(ctx, []byte(RecordKey(r.Release))); err != nil {
		return err
	}
	if !needed {
		if err = r.removeParts(ctx, hub, tx); err != nil {
			return err
		}
	}
	_, err = tx.Commit(ctx)
	return err
}

func (r Record) removeParts(ctx context.Context, hub *client.Client, tx *client.Tx) error {
	if err := tx.DeleteObject(ctx, []byte(r.Weights)); err != nil {
		return err
	}
	for row, err := range hub.Rows().List(ctx, client.ListOptions{Prefix: []byte(r.Features)}) {
		if err != nil {
			return err
		}
		if err := tx.DeleteRow(ctx, row.Key); err != nil {
			return err
		}
	}
	return nil
}
