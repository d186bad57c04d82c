package main

import (
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBench: each change reaches its relayer, and the figures that are promised are there.
func TestBench(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	orders, say := io.Pipe()
	hear, heard := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- attend(orders, heard); _ = heard.Close() }()
	o := options{relayers: 12, namespaces: 60, own: 2, rate: 50, duration: time.Second, dir: t.TempDir()}
	figures, err := bench(ctx, o, say, hear)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var all strings.Builder
	if err := table(&all, figures); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`changes made +50 in`, `change to relayer, p50 +\d`, `change to relayer, p99 +\d.* < 1s`, `hub's memory, all +\d`, `snapshot of the group's state +[1-9]`} {
		if !regexp.MustCompile(line).MatchString(all.String()) {
			t.Errorf("no %q in\n%s", line, &all)
		}
	}
	t.Logf("\n%s", &all)
}
