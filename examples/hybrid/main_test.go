package main

import (
	"context"
	"strings"
	"testing"

	feed "example.com/zeromq-feed"
)

func TestLine(t *testing.T) {
	change := feed.Event{Topic: "orders.kv", Message: feed.Message{Operation: "put", Key: "order:1", LSN: 7}}
	missed := change
	missed.Missed = true
	for want, e := range map[string]feed.Event{
		"connected":                   {Kind: feed.Connected},
		"disconnected":                {Kind: feed.Disconnected},
		"orders.kv put order:1 lsn 7": change,
		"orders.kv put order:1 lsn 7 (there may have been others before)": missed,
	} {
		if got := line(e); got != want {
			t.Errorf("%+v is shown as %q, expected %q", e, got, want)
		}
	}
}

// TestDisplayEnds has it end without an error when it is told to, whether or not anything is
// at the endpoint.
func TestDisplayEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if err := display(ctx, &out, "tcp://127.0.0.1:1", "orders."); err != nil {
		t.Error(err)
	}
	if err := display(t.Context(), &out, "no endpoint", "orders."); err == nil {
		t.Error("an endpoint that is none is accepted")
	}
}
