package main

import (
	"context"
	"errors"
	"time"

	feed "example.com/zeromq-feed"

	"github.com/unisondb/unisondb/sdk/client"
)

// #region listen

// listen has the cache follow a relayer's notifications, until ctx ends.
func listen(ctx context.Context, endpoint string, c *Cache, session *client.Session, namespace string) (err error) {
	f, err := feed.Subscribe(endpoint, namespace+".kv")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		e, err := f.Next(ctx)
		switch {
		case err != nil:
			return err
		case e.Kind == feed.Connected:
			c.Connected(true)
		case e.Kind == feed.Disconnected:
			c.Connected(false)
		case e.Missed: // a gap, another run, a reset
			session.Forget(namespace) // after a reset its position may be gone
			c.Empty(true)
		default:
			m := e.Message
			// Reads from here on are of a state that includes the change.
			if p := session.Position(namespace); !p.IsZero() {
				session.Observe(namespace, client.Position{Lineage: p.Lineage, Epoch: m.Epoch, LSN: m.LSN})
			}
			made, _ := time.Parse(time.RFC3339Nano, m.Timestamp) // for the statistics
			c.Changed(m.Key, place{m.Epoch, m.LSN}, made)
		}
	}
}

// #endregion listen
