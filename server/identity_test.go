package server

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/topology"
)

const testDir = "/data/node"

// memoryNode is a hub without doors on a file system in memory.
func memoryNode(t *testing.T, fsys vfs.FS) *Node {
	t.Helper()
	cfg := config.Config{NodeID: "hub", DataDir: testDir, MemoryLimit: 64 << 20, Storage: config.Storage{Engine: dbkernel.EngineMemory}}
	for _, name := range []string{"one", "two"} {
		cfg.Namespaces = append(cfg.Namespaces, config.Namespace{Name: name, Acks: "local", Storage: cfg.Storage})
	}
	n, err := New(cfg, Options{Role: RoleHub})
	if err != nil {
		t.Fatal(err)
	}
	n.fs = fsys
	log := raft.NewInmemStore()
	n.groupStores = &topology.Stores{Log: log, Stable: log, Snapshots: raft.NewInmemSnapshotStore()}
	return n
}

// TestACrashAtAnyMomentLosesNoNamespace kills a first start and the making of
// one more namespace at every operation on the file system. The node must start
// again, have what was acknowledged, and miss nothing.
func TestACrashAtAnyMomentLosesNoNamespace(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	crashes := 0
	for k := 0; ; k++ {
		mem := vfs.NewMem()
		acked, finished := makeAndCrash(t, vfs.WithFaults(mem, vfs.CrashAfter(k)))
		for range 10 {
			crashes++
			n := memoryNode(t, mem.Crash(rng, vfs.AnyCrash(rng)))
			if err := n.Start(t.Context()); err != nil {
				t.Fatalf("crash after %d operations: the node doesn't start again: %v", k, err)
			}
			checkNamespaces(t, k, n, acked)
			if err := n.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if finished {
			t.Logf("%d crashes at %d operations", crashes, k)
			return
		}
	}
}

// makeAndCrash starts a node and makes a namespace, as far as it comes, and
// answers what was acknowledged.
func makeAndCrash(t *testing.T, fsys vfs.FS) (acked []string, finished bool) {
	t.Helper()
	n := memoryNode(t, fsys)
	if err := n.Start(t.Context()); err == nil {
		acked = []string{"one", "two"}
		if err := n.CreateNamespace(t.Context(), "three", false); err == nil {
			acked = append(acked, "three")
		}
	}
	err := n.Shutdown(t.Context())
	return acked, len(acked) == 3 && err == nil
}

func checkNamespaces(t *testing.T, k int, n *Node, acked []string) {
	t.Helper()
	for _, s := range n.Status().Namespaces {
		if s.State != string(dbkernel.StateServing) {
			t.Errorf("crash after %d operations: namespace %s is %s: %s", k, s.Name, s.State, s.Reason)
		}
		if n.names.made(s.Name).String() != s.Lineage {
			t.Errorf("crash after %d operations: node.json has another lineage of %s", k, s.Name)
		}
	}
	for _, name := range acked {
		if !slices.Contains(n.Names(), name) {
			t.Errorf("crash after %d operations: namespace %s was acknowledged and is gone", k, name)
		}
	}
}

func TestNoDamagedIdentityIsTaken(t *testing.T) {
	id, err := newIdentity("hub", RoleHub)
	if err != nil {
		t.Fatal(err)
	}
	id.Made["default"] = dbkernel.Lineage{1, 2, 3}
	b, err := id.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseIdentity(b); err != nil || got.InstanceID != id.InstanceID || got.Made["default"] != id.Made["default"] {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range b {
		for bit := range 8 {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1 << bit
			got, err := parseIdentity(damaged)
			if err == nil && (got.NodeID != id.NodeID || got.InstanceID != id.InstanceID || got.Role != id.Role || len(got.Made) != 1 || got.Made["default"] != id.Made["default"]) {
				t.Fatalf("byte %d, bit %d: taken as %+v", i, bit, got)
			}
			if err != nil && !errors.Is(err, dbkernel.ErrDamaged) && !errors.Is(err, dbkernel.ErrNewerFormat) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
		}
		if _, err := parseIdentity(b[:i]); err == nil && i < len(b)-1 {
			t.Fatalf("cut at byte %d it was taken", i)
		}
	}
}

func TestAFullDiskKeepsTheOldIdentity(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(testDir, identityName)
	id, err := newIdentity("hub", RoleHub)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.write(mem, name); err != nil {
		t.Fatal(err)
	}
	changed := id.clone()
	changed.Made["new"] = dbkernel.Lineage{1}
	full := vfs.WithFaults(mem, vfs.FailNth(vfs.OpWrite, 1, errors.New("disk full")))
	if err := changed.write(full, name); err == nil {
		t.Fatal("the write succeeded")
	}
	if got, found, err := readIdentity(mem, name); err != nil || !found || len(got.Made) != 0 {
		t.Errorf("%+v, %v, %v", got, found, err)
	}
	if err := changed.write(mem, name); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

func FuzzIdentity(f *testing.F) {
	id, err := newIdentity("hub", RoleRelayer)
	if err != nil {
		f.Fatal(err)
	}
	b, err := id.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"magic":"unisondb-node","version":2}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseIdentity(b); err == nil {
			again, err := got.encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseIdentity(again); err != nil {
				t.Fatal(err)
			}
		}
	})
}
