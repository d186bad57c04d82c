package dbkernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/inspect"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

func putModel(t testing.TB, n *Namespace, model, key, value string) Position {
	t.Helper()
	pos, err := n.Update(context.Background(), func(t *Tx) error { return t.PutModel(model, []byte(key), []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func modelVersion(t testing.TB, n *Namespace, model, key string) Version {
	t.Helper()
	v, err := n.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	value, err := v.GetModel(model, []byte(key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	return value.Version
}

// Models whose names begin alike don't see each other's keys, and key-values neither.
func TestModelsAreApart(t *testing.T) {
	n := createNS(t, openDB(t, testOptions(t, vfs.NewMem())), "test")
	for _, model := range []string{"a", "a.b", "ab", "a-"} {
		putModel(t, n, model, "\x00key\xff", model)
		putModel(t, n, model, "b", model)
	}
	var b Batch
	if err := b.Put([]byte("b"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		v, err := n.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		for _, model := range []string{"a", "a.b", "ab", "a-"} {
			for _, reverse := range []bool{false, true} {
				page, err := v.ScanModel(model, Scan{Reverse: reverse})
				if err != nil || len(page.Items) != 2 || page.More {
					t.Fatalf("model %s: %d items, more %v, %v", model, len(page.Items), page.More, err)
				}
				for _, item := range page.Items {
					if string(item.Data) != model {
						t.Errorf("model %s has %q of model %s", model, item.Key, item.Data)
					}
				}
			}
			if page, err := v.ScanModel(model, Scan{Start: []byte("b"), Limit: 1}); err != nil || len(page.Items) != 1 || string(page.Items[0].Key) != "b" {
				t.Errorf("model %s from b on: %v, %v", model, page, err)
			}
		}
		if page, err := v.ScanModel("a.", Scan{}); err != nil || len(page.Items) != 0 {
			t.Errorf("a model without keys has %d, %v", len(page.Items), err)
		}
	}
	check()
	if err := n.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestModelLimits(t *testing.T) {
	n := createNS(t, openDB(t, testOptions(t, vfs.NewMem())), "test")
	longest := strings.Repeat("m", MaxNameLen)
	putModel(t, n, longest, strings.Repeat("k", MaxKeyLen), "v")
	if len(codec.ModelKey(longest, make([]byte, MaxKeyLen))) > codec.MaxCellKey {
		t.Error("the longest key of the longest model is too long for a cell")
	}
	for _, c := range []struct {
		model, key string
		value      int
		want       error
	}{
		{"", "k", 0, ErrInvalid}, {"kv", "k", 0, ErrInvalid}, {"row", "k", 0, ErrInvalid}, {"lob", "k", 0, ErrInvalid},
		{"a\x00b", "k", 0, ErrInvalid}, {longest + "m", "k", 0, ErrInvalid},
		{"m", "", 0, ErrInvalid}, {"m", strings.Repeat("k", MaxKeyLen+1), 0, ErrInvalid}, {"m", "k", MaxValueLen + 1, ErrTooLarge},
	} {
		_, err := n.Update(context.Background(), func(t *Tx) error { return t.PutModel(c.model, []byte(c.key), make([]byte, c.value)) })
		if !errors.Is(err, c.want) {
			t.Errorf("model %.10q, key %.10q, %d bytes: %v", c.model, c.key, c.value, err)
		}
	}
}

// What a transaction expects holds when it is committed, or there is a conflict.
func TestExpectModel(t *testing.T) {
	ctx := context.Background()
	n := createNS(t, openDB(t, testOptions(t, vfs.NewMem())), "test")
	expect := func(key string, v Version) error {
		_, err := n.Update(ctx, func(t *Tx) error {
			return errors.Join(t.ExpectModel("m", []byte(key), v), t.PutModel("m", []byte("out"), []byte(v)))
		})
		return err
	}
	putModel(t, n, "m", "k", "1")
	old := modelVersion(t, n, "m", "k")
	for _, c := range []struct {
		key     string
		version Version
		want    error
	}{
		{"k", old, nil}, {"k", "", ErrConflict}, {"k", "0-1", ErrConflict}, {"none", "", nil}, {"none", old, ErrConflict},
	} {
		if err := expect(c.key, c.version); !errors.Is(err, c.want) {
			t.Errorf("%s expected as %q: %v", c.key, c.version, err)
		}
	}
	putModel(t, n, "m", "k", "1")
	if err := expect("k", old); !errors.Is(err, ErrConflict) {
		t.Errorf("an old version: %v", err)
	}
	// A write between the transaction's reading and its commit is a conflict, too.
	now, tries := modelVersion(t, n, "m", "k"), 0
	_, err := n.Update(ctx, func(tx *Tx) error {
		if tries++; tries == 1 {
			defer putModel(t, n, "m", "k", "2")
		}
		return errors.Join(tx.ExpectModel("m", []byte("k"), now), tx.DeleteModel("m", []byte("out")))
	})
	if !errors.Is(err, ErrConflict) || tries != 2 {
		t.Errorf("a version that changes before the commit: %v after %d tries", err, tries)
	}
}

// Increments through versions that were read elsewhere are never lost, whatever is
// flushed meanwhile.
func TestModelIncrements(t *testing.T) {
	ctx := context.Background()
	n := createNS(t, openDB(t, testOptions(t, vfs.NewMem())), "test")
	const writers, each = 4, 50
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				v, err := n.View()
				if err != nil {
					t.Error(err)
					return
				}
				now, err := v.GetModel("m", []byte("count"))
				v.Close()
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
				_, err = n.Update(ctx, func(t *Tx) error {
					if err := t.ExpectModel("m", []byte("count"), now.Version); err != nil {
						return err
					}
					return t.PutModel("m", []byte("count"), append(bytes.Clone(now.Data), 'x'))
				})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	for range 10 {
		if err := n.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	v, err := n.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got, err := v.GetModel("m", []byte("count")); err != nil || len(got.Data) != writers*each {
		t.Errorf("counted %d of %d, %v", len(got.Data), writers*each, err)
	}
}

// Whether anything of a model was written is known from where the process began on.
func TestLastModelWrite(t *testing.T) {
	fsys := vfs.NewMem()
	db := openDB(t, testOptions(t, fsys))
	n := createNS(t, db, "test")
	first := putModel(t, n, "m", "k", "1").LSN
	other := putModel(t, n, "other", "k", "1").LSN
	check := func(model string, after, want uint64, wantKnown bool) {
		t.Helper()
		if got, known := n.LastModelWrite(model, after); got != want || known != wantKnown {
			t.Errorf("model %s behind LSN %d: LSN %d, known %v, expected %d, %v", model, after, got, known, want, wantKnown)
		}
	}
	check("m", 0, first, true)
	check("m", first, 0, true)
	check("other", first, other, true)
	check("none", 0, 0, true)
	if err := errors.Join(n.Flush(context.Background()), db.Close()); err != nil {
		t.Fatal(err)
	}
	n, err := openDB(t, testOptions(t, fsys)).Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	begin := n.Status().CheckpointLSN
	check("m", first, 0, false)
	check("m", begin, 0, true)
	again := putModel(t, n, "m", "k", "1").LSN
	check("m", begin, again, true)
}

// A model's cells are as readable in aside/ as all others.
func TestDescribeModelCells(t *testing.T) {
	var b codec.Builder
	b.Put(codec.ModelKey("vector", []byte("k")), []byte("v"), codec.Expiry{})
	b.Delete(codec.ModelKey("vector", []byte("\xff")))
	got, err := json.Marshal(inspect.Describe(b.Seal(1, 1, 1)).Ops)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"op":"put","model":"vector","key":"k","value_base64":"dg=="},{"op":"delete","model":"vector","key_base64":"/w=="}]`
	if string(got) != want {
		t.Errorf("%s\nexpected %s", got, want)
	}
	if !bytes.Equal(codec.ModelPrefix("vector"), codec.ModelKey("vector", nil)) {
		t.Error("a model's prefix isn't the beginning of its keys")
	}
}
