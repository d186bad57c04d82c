//go:build cgo

package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// TestFlipsInTheFile flips single bits in the LMDB file of a replica that is open,
// in keys and cells of leaf pages and in the keys of branch pages. Whatever that
// makes searches miss, one scrub finds it, and repair restores the tree exactly, or
// says that it can't.
//
// SEED=n starts with another seed, DURATION=10m goes on with new ones for that long.
func TestFlipsInTheFile(t *testing.T) {
	seed, duration := longForm(t)
	flips := 24
	if duration > 0 {
		flips = 2000
	}
	const keys = 2000
	owner := newTestNS(t)
	rng := rand.New(rand.NewPCG(seed, 21))
	for i := range keys / 20 {
		var edits []edit
		for j := range 20 {
			edits = append(edits, edit{kind: editPut, key: fmt.Sprintf("user/%05d/name", 20*i+j), value: randomBytes(uint64(20*i+j), 100+rng.IntN(900))})
		}
		writeEdits(t, owner, edits...)
	}
	start := func() (*follower, string) {
		o := testOptions(t, vfs.OS())
		o.Logger, o.Dir, o.Defaults.Storage.Engine = nil, t.TempDir(), EngineLMDB
		f := newFollower(t, owner, o)
		mark(t, owner, f)
		return f, filepath.Join(f.dir, treeDir, "data.mdb")
	}
	f, path := start()
	want, err := readTree(owner)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for n := range flips {
		where := []string{"key", "cell", "branch"}[n%3]
		at, ok := findInFile(t, path, want.cells, where, rng)
		if !ok {
			seen[where+", not there"]++
			continue
		}
		flipByte(t, path, at, 1<<rng.IntN(8))
		outcome := f.recoverFrom(t, owner, want.cells)
		seen[where+", "+outcome]++
		if outcome != "replaced" {
			continue
		}
		f, path = start()
	}
	t.Logf("%v", seen)
	if seen["key, repaired"] == 0 || seen["cell, repaired"] == 0 {
		t.Errorf("not every place was damaged and repaired: %v", seen)
	}
}

// findInFile finds a byte of a key, of its cell, or of a key in a branch page, that
// the file has: it may lie in a page that is free.
func findInFile(t *testing.T, path string, cells cellMap, where string, rng *rand.Rand) (at int64, ok bool) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var places []int64
	const keyLen = len("\x10user/00000/name")
	for at := 0; ; at += keyLen {
		i := bytes.Index(file[at:], []byte("\x10user/"))
		if i < 0 || at+i+keyLen > len(file) {
			break
		}
		at += i
		key := file[at : at+keyLen]
		known, ok := cells[string(key)]
		if !ok {
			continue // an earlier flip
		}
		cell := codec.AppendCell(nil, key, known)
		inLeaf := bytes.HasPrefix(file[at+keyLen:], cell)
		switch {
		case where == "cell" && inLeaf:
			places = append(places, int64(at+keyLen+rng.IntN(len(cell))))
		case inLeaf == (where == "key"):
			places = append(places, int64(at+rng.IntN(keyLen)))
		}
	}
	if len(places) == 0 {
		return 0, false
	}
	return places[rng.IntN(len(places))], true
}

// recoverFrom scrubs and repairs until nothing is found, and holds the outcome
// against what has to be there.
func (f *follower) recoverFrom(t *testing.T, owner *Namespace, want cellMap) string {
	t.Helper()
	ctx := context.Background()
	outcome := "harmless"
	for range 4 {
		i := scrubNow(t, f.Namespace)
		if i.TreeDamage != "" {
			if s := f.Status(); s.State != StateQuarantined || s.Code != "DAMAGED" || s.Lineage.IsZero() {
				t.Fatalf("the tree is damaged (%s), but the status is %+v", i.TreeDamage, s)
			}
			return "replaced"
		}
		if len(i.BadRanges) == 0 {
			got, err := readTree(f.Namespace)
			if err == nil {
				err = errors.Join(got.equals(want), f.searchesFind(want))
			}
			if err != nil {
				t.Fatalf("%s, but %v", outcome, err)
			}
			return outcome
		}
		outcome = "repaired"
		for _, r := range i.BadRanges {
			c, more, err := owner.ReadRange(ctx, r, nil, 1<<20)
			if err != nil || more {
				t.Fatal(more, err)
			}
			if _, err := f.RepairRange(ctx, r, c); err != nil && f.Status().State != StateQuarantined {
				t.Fatalf("repair of range %d: %v", r, err)
			} else if err != nil {
				return "replaced"
			}
		}
	}
	t.Fatalf("still damaged after some repairs: %+v", f.Integrity())
	return ""
}

// searchesFind looks every key up.
func (f *follower) searchesFind(want cellMap) error {
	for key, cell := range want {
		v, _, err := f.Get([]byte(key)[1:])
		if err != nil || !bytes.Equal(v.Data, cell.Value) {
			return fmt.Errorf("%q: %w", key, err)
		}
	}
	if keys := len(want); keys == 0 || slices.Contains(f.Integrity().BadRanges, 0) {
		return errors.New("nothing to look up")
	}
	return nil
}
