package replicator

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func item(n int) intake { return intake{records: [][]byte{make([]byte, n)}, bytes: n, commit: 1} }

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		q := newQueue(100)
		if err := q.put(ctx, item(500)); err != nil { // one item always fits
			t.Fatal(err)
		}
		put := make(chan error, 1)
		go func() { put <- q.put(ctx, item(1)) }()
		synctest.Wait()
		select {
		case err := <-put:
			t.Fatal("a full queue took more", err)
		default:
		}
		if err := q.put(ctx, intake{beat: true}); err != nil { // what has no bytes passes
			t.Fatal(err)
		}
		if got, err := q.take(ctx); err != nil || got.bytes != 500 || !got.beat {
			t.Fatalf("%+v, %v", got, err)
		}
		if err := <-put; err != nil {
			t.Fatal(err)
		}
		if got, err := q.take(ctx); err != nil || got.bytes != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func TestQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		if err := q.put(t.Context(), item(5)); err != nil {
			t.Fatal(err)
		}
		over := errors.New("over")
		q.close(over)
		if got, err := q.take(t.Context()); err != nil || got.bytes != 5 {
			t.Fatalf("what came before the end is lost: %+v, %v", got, err)
		}
		if _, err := q.take(t.Context()); !errors.Is(err, over) {
			t.Fatalf("%v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(over)
		q = newQueue(1)
		if _, err := q.take(ctx); !errors.Is(err, over) {
			t.Fatalf("%v", err)
		}
		if err := errors.Join(q.put(t.Context(), item(1))); err != nil {
			t.Fatal(err)
		}
		if err := q.put(ctx, item(1)); !errors.Is(err, over) {
			t.Fatalf("%v", err)
		}
	})
}
