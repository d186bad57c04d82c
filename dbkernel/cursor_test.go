package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// A cursor is there after a restart and on a replica, where it can't be written.
func TestCursor(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	db := openDB(t, testOptions(t, fsys))
	n := createNS(t, db, "test")
	if _, found, err := n.Cursor("orders/webhook"); found || err != nil {
		t.Fatalf("a cursor that was never put: %v, %v", found, err)
	}
	if _, err := n.PutCursor(ctx, "orders/webhook", []byte("1")); err != nil {
		t.Fatal(err)
	}
	pos, err := n.PutCursor(ctx, "orders/webhook", []byte("2"))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(n *Namespace) {
		t.Helper()
		value, found, err := n.Cursor("orders/webhook")
		if !found || err != nil || string(value) != "2" {
			t.Errorf("the cursor is %q, %v, %v", value, found, err)
		}
	}
	expect(n)
	if err := n.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	expect(n)

	o := testOptions(t, vfs.NewMem())
	o.Defaults.Replica = true
	replica, err := openDB(t, o).Create("test", n.Status().Lineage)
	if err != nil {
		t.Fatal(err)
	}
	copyLog(t, n, replica, pos.LSN)
	expect(replica)
	if _, err := replica.PutCursor(ctx, "orders/webhook", nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a cursor on a replica: %v", err)
	}
	if changes := changesFrom(t, n, 1); len(changes) > 0 {
		t.Errorf("cursors are told as %v", changes)
	}

	for _, name := range []string{"", strings.Repeat("x", MaxKeyLen+1)} {
		if _, err := n.PutCursor(ctx, name, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	if _, err := n.PutCursor(ctx, "x", bytes.Repeat([]byte("x"), MaxCursorLen+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long cursor: %v", err)
	}
}

// copyLog brings a replica up to an LSN of the owner.
func copyLog(t *testing.T, owner, replica *Namespace, upTo uint64) {
	t.Helper()
	tail, err := owner.Tail("copy", replica.Status().LSN+1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for replica.CommitLSN() < upTo {
		run, err := tail.Next(context.Background(), 1<<20)
		if err == nil {
			err = replica.Append(context.Background(), run.Records, run.Commit)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A namespace that is full goes on to note how far its notifiers are.
func TestCursorPassesTheQuota(t *testing.T) {
	n := createNS(t, openDB(t, testOptions(t, vfs.NewMem())), "test")
	o := *n.opts.Load()
	o.Quota.MaxBytes = 10
	n.opts.Store(&o)
	var b Batch
	if err := b.Put([]byte("key"), make([]byte, 100), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Write(context.Background(), &b); !errors.Is(err, ErrQuota) {
		t.Fatalf("a put over the quota: %v", err)
	}
	if _, err := n.Update(context.Background(), func(t *Tx) error { return t.PutModel("m", []byte("key"), make([]byte, 100)) }); !errors.Is(err, ErrQuota) {
		t.Errorf("a model's put over the quota: %v", err)
	}
	if _, err := n.PutCursor(context.Background(), "webhook", make([]byte, 100)); err != nil {
		t.Errorf("a cursor over the quota: %v", err)
	}
}
