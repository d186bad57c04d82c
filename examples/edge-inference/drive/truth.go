package main

import (
	"context"
	"sync"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/release"
)

// truth has releases as the hub has them on record. It is safe for concurrent use.
type truth struct {
	load func(ctx context.Context, number int) (*release.Release, error)

	mu    sync.Mutex
	known map[int]*release.Release
}

func newTruth(hub *client.Client) *truth {
	return &truth{
		known: map[int]*release.Release{},
		load: func(ctx context.Context, number int) (*release.Release, error) {
			return release.LoadRecorded(ctx, hub, number)
		},
	}
}

// of answers a release. One that the hub has no record of was never published.
func (t *truth) of(ctx context.Context, number int) (*release.Release, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.known[number]; r != nil {
		return r, nil
	}
	r, err := t.load(ctx, number)
	if err != nil {
		return nil, err
	}
	t.known[number] = r
	return r, nil
}
