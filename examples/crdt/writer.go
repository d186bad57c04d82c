package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// retryInterval is between two tries of what the hub couldn't do.
const retryInterval = 100 * time.Millisecond

// writer changes the state, under keys that nobody else writes.
type writer struct {
	replica
	name string
	own  string // the namespace that its hub owns
}

// write does what the command line says.
func (w writer) write(ctx context.Context, visits int, title string) error {
	if w.name == "" || w.own == "" {
		return errors.New("-writer and -own are missing: say who writes, and to which namespace")
	}
	if title != "" {
		if err := w.setTitle(ctx, title); err != nil {
			return err
		}
	}
	return w.count(ctx, visits)
}

// #region count

// count adds n to the counter, one by one. A write is repeated until it is acknowledged: it says
// "my number is 17", not "add 1", so that the same write twice is the same as once.
func (w writer) count(ctx context.Context, n int) error {
	mine, err := w.mine(ctx)
	if err != nil {
		return err
	}
	number := mine.Visits[w.name]
	for range n {
		number++
		if err := w.put(ctx, visitsPrefix+w.name, strconv.AppendUint(nil, number, 10)); err != nil {
			return err
		}
	}
	return nil
}

// #endregion count

// setTitle changes the register, on top of all that this hub knows of it.
func (w writer) setTitle(ctx context.Context, value string) error {
	var known State
	err := patiently(ctx, func() (err error) {
		known, err = w.read(ctx)
		return err
	})
	if err != nil {
		return err
	}
	entry, err := json.Marshal(known.Title.Set(w.name, value))
	if err != nil {
		return err
	}
	return w.put(ctx, titlePrefix+w.name, entry)
}

// mine is what the hub owns, where the writer's own last write always is.
func (w writer) mine(ctx context.Context) (s State, err error) {
	err = patiently(ctx, func() error {
		s, _, err = w.readNamespace(ctx, w.own)
		return err
	})
	return s, err
}

// put repeats a write until it is acknowledged, or refused for good.
func (w writer) put(ctx context.Context, key string, value []byte) error {
	return patiently(ctx, func() error {
		if _, err := w.client.In(w.own).KV().Put(ctx, []byte(key), value); err != nil {
			return fmt.Errorf("write %s to %s: %w", key, w.own, err)
		}
		return nil
	})
}

// patiently repeats what the hub couldn't do; what it refuses it would refuse again.
func patiently(ctx context.Context, try func() error) error {
	for {
		err := try()
		var answer *client.Error
		if err == nil || errors.As(err, &answer) && answer.Status/100 == 4 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryInterval):
		}
	}
}
