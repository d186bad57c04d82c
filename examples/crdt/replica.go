package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/unisondb/unisondb/sdk/client"
)

// replica reads the state from one node, which has the namespaces of all hubs: its
// own, or copies.
type replica struct {
	client     *client.Client
	namespaces []string
}

// #region read

// read merges what the node has of all namespaces. The namespaces needn't be of one moment: merging
// takes them in any order, at any time, any number of times.
func (r replica) read(ctx context.Context) (State, error) {
	var s State
	for _, namespace := range r.namespaces {
		part, _, err := r.readNamespace(ctx, namespace)
		if err != nil {
			return State{}, err
		}
		s = s.Merge(part)
	}
	return s, nil
}

// readNamespace also answers a position that the state includes.
func (r replica) readNamespace(ctx context.Context, namespace string) (s State, at client.Position, err error) {
	kv := r.client.In(namespace).KV()
	for cursor := ""; ; {
		page, err := kv.ListPage(ctx, client.ListOptions{Limit: 1000}, cursor)
		if err != nil {
			return State{}, client.Position{}, fmt.Errorf("read %s: %w", namespace, err)
		}
		if at.IsZero() {
			at = page.Position
		}
		for _, item := range page.Items {
			one, err := parse(string(item.Key), item.Value)
			if err != nil {
				return State{}, client.Position{}, fmt.Errorf("read %s: %w", namespace, err)
			}
			s = s.Merge(one)
		}
		if cursor = page.Cursor; cursor == "" {
			return s, at, nil
		}
	}
}

// #endregion read

// readKey reads what a notification was about, from a state that includes it.
func (r replica) readKey(ctx context.Context, namespace, key string, at client.Position) (State, error) {
	v, err := r.client.In(namespace).KV().Get(ctx, []byte(key), client.AtLeast(at))
	if errors.Is(err, client.ErrNotFound) {
		return State{}, nil // a grow-only state has no deletions; this key is somebody else's
	}
	if err != nil {
		return State{}, fmt.Errorf("read %s of %s: %w", key, namespace, err)
	}
	return parse(key, v.Data)
}
