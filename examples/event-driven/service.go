package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// maxBody is more than the notifier sends in one request.
const maxBody = 8 << 20

// service receives webhooks and keeps the projection.
type service struct {
	client *client.Client
	secret string
	// stored is called when a request is in the journal, and not answered yet.
	stored func()

	mu         sync.Mutex // a request is handled alone
	projection *Projection
	journal    *Journal
	broken     error // of the journal: what is on the disk isn't known any more
}

// #region receive

// receive handles a webhook: what is new is looked up, put into the journal, applied and only then
// answered. Whatever fails before that is answered with a 5xx, and comes again.
func (s *service) receive(ctx context.Context, events []Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	entry := Entry{Reset: slices.ContainsFunc(events, func(e Event) bool { return e.Operation == "reset" })}
	var err error
	if entry.Reset { // a reset comes alone
		entry.Events, err = s.all(ctx)
	} else {
		fresh := s.projection.fresh(events)
		s.projection.Skipped += len(events) - len(fresh)
		entry.Events, err = s.lookUp(ctx, fresh)
	}
	if err != nil {
		return err
	}
	if len(entry.Events) == 0 && !entry.Reset {
		return nil // all of it came again: it is in the journal already
	}
	if err := s.journal.append(entry); err != nil {
		s.broken = fmt.Errorf("write the journal: %w: start the service again", err)
		return s.broken
	}
	s.stored()
	s.projection.apply(entry)
	return nil
}

// #endregion receive

// #region look-up

// lookUp reads what the keys of events hold, from a state that includes all of the events. It may be
// newer than an event: then a later event tells of the same key, and finds the same.
func (s *service) lookUp(ctx context.Context, events []Event) ([]Handled, error) {
	if len(events) == 0 {
		return nil, nil
	}
	var keys [][]byte
	newest := events[0].Place
	for _, e := range events {
		keys = append(keys, []byte(e.key()))
		if e.after(newest) {
			newest = e.Place
		}
	}
	found, _, err := s.client.KV().GetAll(ctx, keys, client.AtLeast(newest.position()))
	if err != nil {
		return nil, fmt.Errorf("read the orders: %w", err)
	}
	handled := make([]Handled, len(events))
	for i, e := range events {
		handled[i] = Handled{Key: e.key(), Place: e.Place}
		if !found[i].Found {
			continue
		}
		if handled[i].Order, err = parseOrder(e.key(), found[i].Value); err != nil {
			return nil, err
		}
	}
	return handled, nil
}

// #endregion look-up

// all reads every order, after a reset.
func (s *service) all(ctx context.Context) (all []Handled, err error) {
	for item, err := range s.client.KV().List(ctx, client.ListOptions{Prefix: []byte(orderPrefix)}) {
		if err != nil {
			return nil, fmt.Errorf("read all orders: %w", err)
		}
		order, err := parseOrder(string(item.Key), item.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, Handled{Key: string(item.Key), Order: order})
	}
	return all, nil
}

// errNoOrder is what no later try makes better.
var errNoOrder = errors.New("no order")

func parseOrder(key string, value []byte) (*Order, error) {
	var o Order
	if err := json.Unmarshal(value, &o); err != nil {
		return nil, fmt.Errorf("%w: %s holds %q: put an order there, or delete it", errNoOrder, key, value)
	}
	return &o, nil
}

// #region answer

// hook is the address that the notifier calls.
func (s *service) hook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !genuine(s.secret, r.Header.Get("X-Unisondb-Signature"), body, time.Now()) {
		http.Error(w, "the signature is wrong or old", http.StatusUnauthorized)
		return
	}
	var request struct {
		Events []Event `json:"events"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch err := s.receive(r.Context(), request.Events); {
	case errors.Is(err, errNoOrder): // refused: the one at fault becomes a dead letter
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case err != nil: // not now: it comes again
		log.Print(err)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// #endregion answer

// show answers the projection.
func (s *service) show(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(s.projection); err != nil {
		log.Print(err)
	}
}
