package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

const orderPrefix = "order/"

// retryInterval is between two tries.
const retryInterval = 50 * time.Millisecond

// shop writes orders to the hub; it knows nothing of the service.
type shop struct{ client *client.Client }

// order is the n-th one: made up, and always the same.
func order(n int) (key string, o Order) {
	return fmt.Sprintf("%s%05d", orderPrefix, n), Order{Customer: fmt.Sprint("customer-", n%7), Cents: int64(n)*37%10_000 + 1}
}

// place writes orders from first to last. An order is put once, whatever happens: a repeated put
// fails where the first one was done.
func (s shop) place(ctx context.Context, first, last int) error {
	for n := first; n <= last; n++ {
		key, o := order(n)
		value, err := json.Marshal(o)
		if err != nil {
			return err
		}
		err = repeat(ctx, func() error {
			_, err := s.client.KV().Put(ctx, []byte(key), value, client.IfAbsent())
			if errors.Is(err, client.ErrConditionFailed) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// cancel deletes orders from first to last; repeated, it deletes nothing more.
func (s shop) cancel(ctx context.Context, first, last int) error {
	for n := first; n <= last; n++ {
		key, _ := order(n)
		err := repeat(ctx, func() error {
			_, err := s.client.KV().Delete(ctx, []byte(key), client.IfExists())
			if errors.Is(err, client.ErrConditionFailed) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// repeat tries again what a node couldn't do, until it can or ctx ends.
func repeat(ctx context.Context, try func() error) error {
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

// check holds the service's projection against the hub's orders: every one is there, and each
// change was handled once.
func (s shop) check(ctx context.Context, service string, changes int) error {
	p, err := fetch(ctx, service)
	if err != nil {
		return err
	}
	cents, orders := map[string]int64{}, map[string]bool{}
	for item, err := range s.client.KV().List(ctx, client.ListOptions{Prefix: []byte(orderPrefix)}) {
		if err != nil {
			return err
		}
		o, err := parseOrder(string(item.Key), item.Value)
		if err != nil {
			return err
		}
		cents[o.Customer] += o.Cents
		orders[string(item.Key)] = true
		if n := p.Handled[string(item.Key)]; n != 1 {
			return fmt.Errorf("%s was put once, and handled %d times", item.Key, n)
		}
	}
	for key, n := range p.Handled {
		if !orders[key] && n != 2 {
			return fmt.Errorf("%s was put and deleted, and %d changes of it were handled", key, n)
		}
	}
	if !maps.Equal(cents, p.Cents) {
		return fmt.Errorf("the hub's orders make %v, the service has %v", cents, p.Cents)
	}
	if p.Changes != changes {
		return fmt.Errorf("there were %d changes, the service has handled %d", changes, p.Changes)
	}
	fmt.Printf("%d orders, %d changes handled once each, %d that came again skipped\n", len(orders), p.Changes, p.Skipped)
	return nil
}

// wait waits until the service has handled so many changes.
func wait(ctx context.Context, service string, changes int) error {
	for {
		p, err := fetch(ctx, service)
		if err == nil && p.Changes >= changes {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the service has handled %d of %d changes (%w)", p.Changes, changes, ctx.Err())
		case <-time.After(retryInterval):
		}
	}
}

// fetch asks the service for its projection.
func fetch(ctx context.Context, service string) (p Projection, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, service+"/projection", nil)
	if err != nil {
		return p, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	return p, json.NewDecoder(resp.Body).Decode(&p)
}
