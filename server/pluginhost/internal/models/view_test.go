package models

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// A program sees its own keys, and those of no other model, nor anybody's data.
func TestViewReadsTheModelAlone(t *testing.T) {
	f := newFixture(t)
	pos := f.update(func(t *dbkernel.Tx) error {
		return errors.Join(t.PutModel(model, []byte("a"), []byte("1")), t.PutModel(model, []byte("b"), nil),
			t.PutModel(model+"-2", []byte("c"), []byte("x")), t.PutModel(model[:3], []byte("c"), []byte("x")), t.Put([]byte("c"), []byte("x"), 0))
	})
	got, err := f.client.Get(f.ctx, &pluginv1.GetRequest{Namespace: space, Keys: [][]byte{[]byte("c"), []byte("a"), []byte("b"), []byte("a")}})
	f.check(err)
	want := []string{`c="" false`, `a="1" true`, `b="" true`, `a="1" true`}
	for i, item := range got.GetItems() {
		if s := fmt.Sprintf("%s=%q %v", item.GetKey(), item.GetValue(), item.GetVersion() != ""); s != want[i] {
			t.Errorf("item %d is %s, expected %s", i, s, want[i])
		}
	}
	at, err := fromProto(got.GetPosition())
	if err != nil || at != pos || len(got.GetItems()) != len(want) {
		t.Errorf("%d items of %v, expected those of %v: %v", len(got.GetItems()), at, pos, err)
	}
	for _, limit := range []uint32{0, 1, 5000} {
		if cells, _ := f.scanned(limit); len(cells) != 2 || cells["a"].value != "1" || cells["b"].version == "" {
			t.Errorf("%d at a time: %v", limit, cells)
		}
	}
	page, err := f.client.Scan(f.ctx, &pluginv1.ScanRequest{Namespace: space, Prefix: []byte("b")})
	if err != nil || len(page.GetItems()) != 1 || page.GetMore() {
		t.Errorf("by a prefix: %v, %v", page, err)
	}
}

func TestViewRefuses(t *testing.T) {
	f := newFixture(t)
	get := func(namespace string, keys ...string) error {
		r := &pluginv1.GetRequest{Namespace: namespace}
		for _, key := range keys {
			r.Keys = append(r.Keys, []byte(key))
		}
		_, err := f.client.Get(f.ctx, r)
		return err
	}
	syncFrom := func(r *pluginv1.SyncRequest) error {
		stream, err := f.client.Sync(f.ctx, r)
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want codes.Code
	}{
		"another namespace":         {get("other", "k"), codes.PermissionDenied},
		"to sync another namespace": {syncFrom(&pluginv1.SyncRequest{Namespace: "other"}), codes.PermissionDenied},
		"one that isn't there":      {get("absent", "k"), codes.NotFound},
		"an empty key":              {get(space, ""), codes.InvalidArgument},
		"too many keys":             {get(space, make([]string, maxKeys+1)...), codes.InvalidArgument},
		"no position":               {syncFrom(&pluginv1.SyncRequest{Namespace: space, From: &pluginv1.Position{Lineage: "x"}}), codes.InvalidArgument},
	} {
		if status.Code(c.err) != c.want {
			t.Errorf("%s: %v, expected %s", name, c.err, c.want)
		}
	}
}

// An answer stays within what a message may have.
func TestViewGetIsBounded(t *testing.T) {
	f := newFixture(t)
	f.put("long", string(make([]byte, dbkernel.MaxValueLen)))
	r := &pluginv1.GetRequest{Namespace: space}
	for range dbkernel.MaxBatchLen/dbkernel.MaxValueLen + 1 {
		r.Keys = append(r.Keys, []byte("long"))
	}
	if _, err := f.client.Get(f.ctx, r); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("40 MiB: %v", err)
	}
}

// A handle that is superseded since it was looked up is looked up again.
func TestViewAfterASwitch(t *testing.T) {
	f := newFixture(t)
	kept := f.put("a", "1")
	f.put("a", "2")
	old := f.ns()
	_, err := f.db.Truncate(f.ctx, space, kept.LSN, "a test")
	f.check(err)
	var stale atomic.Bool
	f.client = f.connect(NewView(model, []string{space}, func(name string) (*dbkernel.Namespace, error) {
		if stale.Swap(false) {
			return old, nil
		}
		return f.source(name)
	}))
	stale.Store(true)
	got, err := f.client.Get(f.ctx, &pluginv1.GetRequest{Namespace: space, Keys: [][]byte{[]byte("a")}})
	if err != nil || string(got.GetItems()[0].GetValue()) != "1" {
		t.Errorf("%v, %v", got, err)
	}
	stale.Store(true)
	var x index
	f.expect(&x, 1, 1)
	stale.Store(true)
	f.expect(&x, 0, 0)
}

// A program that asks without end, and listens to nothing, holds up no client and no
// other program: what is read for it at once is bounded.
func TestViewIsBounded(t *testing.T) {
	f := newFixture(t)
	v := NewView(model, []string{space}, f.source)
	hold := make(chan struct{})
	held := make(chan struct{}, 3*maxSyncs)
	v.source = func(name string) (*dbkernel.Namespace, error) {
		held <- struct{}{}
		<-hold
		return f.source(name)
	}
	client := f.connect(v)
	var wg sync.WaitGroup
	for range 3 * maxSyncs {
		wg.Go(func() {
			if err := (&index{}).sync(f.ctx, client); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxSyncs {
		<-held
	}
	if v.syncs.TryAcquire(1) {
		t.Error("there is room for one more")
	}
	close(hold)
	wg.Wait()
}
