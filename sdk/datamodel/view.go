package datamodel

import (
	"context"
	"errors"
	"fmt"
	"io"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// remoteViews are Views over the node's service View.
type remoteViews struct{ client pluginv1.ViewClient }

// View implements Views.
func (v remoteViews) View(namespace string) View { return remoteView{v.client, namespace} }

// remoteView is a View over the node's service View. Its errors wrap gRPC's, so
// that a call that returns one has the code that the node knows.
type remoteView struct {
	client    pluginv1.ViewClient
	namespace string
}

// Get implements View.
func (v remoteView) Get(ctx context.Context, keys ...[]byte) ([]Item, Position, error) {
	r, err := v.client.Get(ctx, &pluginv1.GetRequest{Namespace: v.namespace, Keys: keys})
	if err != nil {
		return nil, Position{}, fmt.Errorf("get %d keys: %w", len(keys), err)
	}
	if len(r.GetItems()) != len(keys) {
		return nil, Position{}, fmt.Errorf("get %d keys: the node answered %d", len(keys), len(r.GetItems()))
	}
	return itemsOf(r.GetItems()), positionOf(r.GetPosition()), nil
}

// Scan implements View.
func (v remoteView) Scan(ctx context.Context, prefix, after []byte, limit int) (Page, error) {
	r, err := v.client.Scan(ctx, &pluginv1.ScanRequest{
		Namespace: v.namespace, Prefix: prefix, After: after, Limit: uint32(max(limit, 0)),
	})
	if err != nil {
		return Page{}, fmt.Errorf("scan: %w", err)
	}
	return Page{
		Items: itemsOf(r.GetItems()), Position: positionOf(r.GetPosition()), More: r.GetMore(), Last: r.GetLast(),
	}, nil
}

// Sync implements View.
func (v remoteView) Sync(ctx context.Context, from Position, fn func(reset bool, items []Item) error) (Position, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream where fn fails
	defer cancel()
	stream, err := v.client.Sync(ctx, &pluginv1.SyncRequest{Namespace: v.namespace, From: from.encode()})
	if err != nil {
		return Position{}, fmt.Errorf("sync: %w", err)
	}
	var reached *pluginv1.Position
	for {
		r, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && reached == nil:
			return Position{}, fmt.Errorf("sync: the node ended without a position: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return positionOf(reached), nil
		case err != nil:
			return Position{}, fmt.Errorf("sync: %w", err)
		}
		if r.GetReset_() || len(r.GetItems()) > 0 {
			if err := fn(r.GetReset_(), itemsOf(r.GetItems())); err != nil {
				return Position{}, err
			}
		}
		reached = r.GetPosition()
	}
}

func itemsOf(wire []*pluginv1.Item) []Item {
	items := make([]Item, len(wire))
	for i, item := range wire {
		items[i] = Item{Key: item.GetKey(), Value: item.GetValue(), Version: item.GetVersion()}
	}
	return items
}
