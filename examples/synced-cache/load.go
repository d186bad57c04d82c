package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// load works on a running application from outside.
type load struct {
	hub *client.Client
	app string
}

// fill writes all items, some times over.
func (l load) fill(ctx context.Context, times int) error {
	for range times {
		all := make([]client.KeyValue, items)
		for n := range all {
			all[n] = client.KeyValue{Key: []byte(itemKey(n)), Value: []byte(newValue())}
		}
		if _, err := l.hub.KV().PutAll(ctx, all); err != nil {
			return err
		}
	}
	return nil
}

func newValue() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// run has the application read while items change on the hub, one for each so many reads, and says how
// it went.
func (l load) run(ctx context.Context, rounds, reads int) error {
	before, err := l.stats(ctx)
	if err != nil {
		return err
	}
	for range rounds {
		// The popular items change most often, as they would.
		key := itemKey(int(rand.ExpFloat64()*20) % items)
		if _, err := l.hub.KV().Put(ctx, []byte(key), []byte(newValue())); err != nil {
			return err
		}
		if _, err := l.fetch(ctx, fmt.Sprint("/read?n=", reads), http.StatusOK); err != nil {
			return err
		}
	}
	after, err := l.stats(ctx)
	if err != nil {
		return err
	}
	hits, misses := after.Hits-before.Hits, after.Misses-before.Misses
	fmt.Printf("%d reads, %d writes: %.1f %% hits; %d entries dropped; stale for %v (p50), %v (p99)\n",
		hits+misses, rounds, 100*float64(hits)/float64(max(1, hits+misses)), after.Dropped-before.Dropped,
		after.P50.Round(10*time.Microsecond), after.P99.Round(10*time.Microsecond))
	return nil
}

// verify waits until the application answers, for each item, what the hub has.
func (l load) verify(ctx context.Context) error {
	for item, err := range l.hub.KV().List(ctx, client.ListOptions{Prefix: []byte("item/")}) {
		if err != nil {
			return err
		}
		for {
			got, err := l.fetch(ctx, "/get/"+string(item.Key), http.StatusOK)
			if err == nil && string(got) == string(item.Value) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the application answers %q for %s, the hub has %q (%w)", got, item.Key, item.Value, errors.Join(err, ctx.Err()))
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

func (l load) stats(ctx context.Context) (s Stats, err error) {
	body, err := l.fetch(ctx, "/stats", http.StatusOK)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

func (l load) fetch(ctx context.Context, path string, status int) (body []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.app+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if body, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return body, err
}
