package server

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
)

// spoiled is a file system with a hub on it, one of whose namespaces is damaged, or
// gone altogether.
func spoiled(t *testing.T, gone bool) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	n := memoryNode(t, mem)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(testDir, "namespaces", "two")
	if gone {
		if err := mem.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	} else if err := replaceFile(mem, filepath.Join(dir, "meta.json"), []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	if err := mem.SyncDir(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	return mem
}

// TestACrashWhileANamespaceIsReplaced kills a hub at every operation on the file
// system while a namespace is replaced. Afterwards the namespace is as it was, or missing,
// or made anew, never made with a lineage that isn't there; what it had is
// still somewhere; and replacing it once more works.
func TestACrashWhileANamespaceIsReplaced(t *testing.T) {
	for _, gone := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(3, 4))
		seen := map[string]int{}
		for k, finished := 0, false; !finished; k++ {
			mem := spoiled(t, gone)
			n := memoryNode(t, vfs.WithFaults(mem, vfs.CrashAfter(k)))
			acked := n.Start(t.Context()) == nil && n.CreateNamespace(t.Context(), "two", true) == nil
			finished = n.Shutdown(t.Context()) == nil && acked
			for range 4 {
				image := mem.Crash(rng, vfs.AnyCrash(rng))
				seen[checkReplaced(t, k, image, gone, acked)]++
			}
		}
		t.Logf("gone %v: %v", gone, seen)
		if seen[string(dbkernel.StateServing)] == 0 || seen[stateMissing] == 0 {
			t.Errorf("gone %v: the crashes left only %v", gone, seen)
		}
	}
}

// checkReplaced looks at what a crash has left, and answers the namespace's state.
func checkReplaced(t *testing.T, k int, image vfs.FS, gone, acked bool) string {
	t.Helper()
	n := memoryNode(t, image)
	if err := n.Start(t.Context()); err != nil {
		t.Fatalf("crash after %d operations: the node doesn't start again: %v", k, err)
	}
	defer func() {
		if err := n.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if s := n.NamespaceStatus("one"); s.State != string(dbkernel.StateServing) {
		t.Errorf("crash after %d operations: the other namespace is %s: %s", k, s.State, s.Reason)
	}
	s := n.NamespaceStatus("two")
	aside, err := n.db.Aside()
	if err != nil {
		t.Fatal(err)
	}
	made := n.names.made("two").String()
	switch s.State {
	case string(dbkernel.StateServing):
		if s.Lineage != made {
			t.Errorf("crash after %d operations: it has lineage %s, node.json says %s", k, s.Lineage, made)
		}
	case stateMissing:
	case string(dbkernel.StateQuarantined):
		if gone || s.Code != httpapi.CodeDamaged {
			t.Errorf("crash after %d operations: it is quarantined: %s: %s", k, s.Code, s.Reason)
		}
	default:
		t.Errorf("crash after %d operations: it is %s", k, s.State)
	}
	if acked && s.State != string(dbkernel.StateServing) {
		t.Errorf("crash after %d operations: it was called replaced, and is %s: %s", k, s.State, s.Reason)
	}
	if !gone && s.State != string(dbkernel.StateQuarantined) && len(aside) != 1 {
		t.Errorf("crash after %d operations: what it had isn't set aside: %+v", k, aside)
	}
	if s.State != string(dbkernel.StateServing) {
		if err := n.CreateNamespace(t.Context(), "two", true); err != nil {
			t.Errorf("crash after %d operations: replacing it once more: %v", k, err)
		}
		if again := n.NamespaceStatus("two"); again.State != string(dbkernel.StateServing) || again.Lineage != n.names.made("two").String() {
			t.Errorf("crash after %d operations: replaced once more it is %+v", k, again)
		}
	}
	return s.State
}

// memoryRelayer is a relayer without doors on a file system in memory, whose
// upstream is never there.
func memoryRelayer(t *testing.T, fsys vfs.FS) *Node {
	t.Helper()
	cfg := config.Config{NodeID: "edge", DataDir: testDir, MemoryLimit: 64 << 20, Storage: config.Storage{Engine: dbkernel.EngineMemory},
		Relayer: &config.Relayer{Upstreams: []config.Upstream{{Name: "up", Addresses: []string{"127.0.0.1:1"}, Namespaces: []string{"one"}}}}}
	n, err := New(cfg, Options{Role: RoleRelayer})
	if err != nil {
		t.Fatal(err)
	}
	n.fs = fsys
	return n
}

func TestACrashLosesNoAcceptedLineage(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	lineage := dbkernel.Lineage{1, 2, 3}
	for k, finished := 0, false; !finished; k++ {
		mem := vfs.NewMem()
		n := memoryRelayer(t, vfs.WithFaults(mem, vfs.CrashAfter(k)))
		acked := n.Start(t.Context()) == nil && n.AcceptLineage("one", lineage) == nil
		finished = n.Shutdown(t.Context()) == nil && acked
		for range 4 {
			again := memoryRelayer(t, mem.Crash(rng, vfs.AnyCrash(rng)))
			if err := again.Start(t.Context()); err != nil {
				t.Fatalf("crash after %d operations: the node doesn't start again: %v", k, err)
			}
			if got := again.names.accepted("one"); got != lineage && (acked || !got.IsZero()) {
				t.Errorf("crash after %d operations: accepted is %s", k, got)
			}
			if err := again.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestAReplacementThatFailsIsTriedAgain: a disk that is full at any moment leaves a
// namespace that can be replaced when there is space again.
func TestAReplacementThatFailsIsTriedAgain(t *testing.T) {
	for _, gone := range []bool{false, true} {
		for nth := 1; ; nth++ {
			full := vfs.FailNth(vfs.OpWrite, nth, errors.New("disk full"))
			n := memoryNode(t, vfs.WithFaults(spoiled(t, gone), full))
			if err := n.Start(t.Context()); err != nil {
				continue // the disk was full earlier
			}
			err := n.CreateNamespace(t.Context(), "two", true)
			if err != nil {
				if s := n.NamespaceStatus("two"); s.State == string(dbkernel.StateServing) {
					t.Errorf("write %d failed (%v), and the namespace serves", nth, err)
				}
				if err := n.CreateNamespace(t.Context(), "two", true); err != nil {
					t.Errorf("write %d: with space again: %v", nth, err)
				}
			}
			s := n.NamespaceStatus("two")
			if s.State != string(dbkernel.StateServing) {
				s = n.NamespaceStatus("two") // its first use met the full disk
			}
			if s.State != string(dbkernel.StateServing) || s.Lineage != n.names.made("two").String() {
				t.Errorf("write %d: it is %+v", nth, s)
			}
			if errStop := n.Shutdown(t.Context()); errStop != nil {
				t.Error(errStop)
			}
			if err == nil {
				break
			}
		}
	}
}
