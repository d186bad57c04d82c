package main

import "maps"

// Order is the value of an order's key.
type Order struct {
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
}

// Entry is what the journal keeps of a request: events that were new, with what
// their keys held when they were handled. Applied in order, entries make the projection.
type Entry struct {
	Events []Handled `json:"events,omitempty"`
	// Reset says that everything was read anew: Events then are all orders there are.
	Reset bool `json:"reset,omitempty"`
}

// Handled is an event that was handled. Order is nil where the key was gone.
type Handled struct {
	Key   string `json:"key"`
	Place Place  `json:"place"`
	Order *Order `json:"order,omitempty"`
}

// Projection is what the service makes of the changes.
type Projection struct {
	Orders map[string]Order `json:"-"`
	// Last is, for each key, the last change that was handled: by it, one that comes again
	// is told.
	Last map[string]Place `json:"-"`
	// Handled counts the changes of each key, as a service would that sends a mail for each.
	Handled map[string]int   `json:"handled"`
	Cents   map[string]int64 `json:"cents"` // by customer
	Changes int              `json:"changes"`
	Resets  int              `json:"resets"`
	Skipped int              `json:"skipped"` // came again since the service was started
}

func newProjection() *Projection {
	return &Projection{Orders: map[string]Order{}, Last: map[string]Place{}, Handled: map[string]int{}, Cents: map[string]int64{}}
}

// #region apply

// fresh are the events that haven't been handled yet.
func (p *Projection) fresh(events []Event) (fresh []Event) {
	last := map[string]Place{} // of events of this very request
	for _, e := range events {
		seen, ok := last[e.key()]
		if !ok {
			seen, ok = p.Last[e.key()]
		}
		if ok && !e.after(seen) {
			continue
		}
		last[e.key()] = e.Place
		fresh = append(fresh, e)
	}
	return fresh
}

// apply takes an entry of the journal in.
func (p *Projection) apply(e Entry) {
	if e.Reset {
		p.Resets++
		clear(p.Orders)
		clear(p.Last) // the places of a history that was cut mean nothing in the new one
		clear(p.Cents)
	}
	for _, h := range e.Events {
		p.set(h.Key, h.Order)
		if e.Reset {
			continue // a state, not a change
		}
		p.Last[h.Key] = h.Place
		p.Handled[h.Key]++
		p.Changes++
	}
}

// #endregion apply

// set changes what is known of an order, and the sums with it.
func (p *Projection) set(key string, now *Order) {
	if before, ok := p.Orders[key]; ok {
		p.Cents[before.Customer] -= before.Cents
		delete(p.Orders, key)
	}
	if now != nil {
		p.Cents[now.Customer] += now.Cents
		p.Orders[key] = *now
	}
	maps.DeleteFunc(p.Cents, func(_ string, cents int64) bool { return cents == 0 })
}
