package topology

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func snapshotOf(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.writeSnapshot(&b, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signed makes the checksums of a changed snapshot right again.
func signed(b []byte) []byte {
	b = bytes.Clone(b)
	length := binary.LittleEndian.Uint32(b[12:])
	body := b[length:]
	binary.LittleEndian.PutUint64(b[48:], uint64(len(body)))
	binary.LittleEndian.PutUint32(b[56:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(b[length-4:], crc32.Checksum(b[:length-4], castagnoli))
	return b
}

func TestSnapshot(t *testing.T) {
	s := world(t)
	b := snapshotOf(t, s)
	back, info, err := readSnapshot(iotest.OneByteReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	if d := sameState(s, back); d != "" {
		t.Error(d)
	}
	info.length, info.sum = 0, 0
	want := SnapshotInfo{
		Format: 1, Writer: "1.2.3", MinReader: KindBegin, Newest: newest, Cluster: lin(0xc1), Index: s.Index, Bytes: int64(len(b)),
		Hubs: 3, Namespaces: 3, Deleted: 1, Relayers: 4, Assignments: 2, Plugins: 1, Tokens: 3,
	}
	if d := cmp.Diff(want, info, cmp.AllowUnexported(SnapshotInfo{})); d != "" {
		t.Error(d)
	}
	if _, _, err := readSnapshot(bytes.NewReader(snapshotOf(t, NewState()))); err != nil {
		t.Errorf("before any command: %v", err)
	}
	if b := snapshotOf(t, back); !bytes.Equal(b, snapshotOf(t, s)) {
		t.Error("the same state is written in two ways")
	}
}

// TestOldSnapshot reads what groups have on their disks.
func TestOldSnapshot(t *testing.T) {
	const file = "testdata/snapshot-1.golden"
	if *appendGolden {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			if err := os.WriteFile(file, snapshotOf(t, world(t)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := readSnapshot(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := world(t)
	for id, h := range want.Hubs { // the newest kind rises with each build
		h := *h
		h.ReadsUpTo = s.Hubs[id].ReadsUpTo
		want.Hubs[id] = &h
	}
	for _, namespaces := range []map[string]*Namespace{want.Namespaces, want.Deleted} {
		for key, ns := range namespaces { // that build didn't note for whom they were created
			ns := *ns
			ns.Instance = ""
			namespaces[key] = &ns
		}
	}
	if d := sameState(want, s); d != "" {
		t.Error(d)
	}
}

// TestBadSnapshots: a snapshot that can't be taken is refused in words.
func TestBadSnapshots(t *testing.T) {
	good := snapshotOf(t, world(t))
	length := binary.LittleEndian.Uint32(good[12:])
	change := func(do func(b []byte) []byte) []byte { return do(bytes.Clone(good)) }
	put := func(at int, v uint32) []byte {
		return change(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return signed(b) })
	}
	body := func(text string) []byte { return signed(append(bytes.Clone(good[:length]), text...)) }
	for name, c := range map[string]struct {
		b    []byte
		code string
		says string
	}{
		"empty":               {nil, CodeDamagedSnapshot, "ends within its header"},
		"something else":      {bytes.Repeat([]byte("hello "), 100), CodeDamagedSnapshot, "no snapshot"},
		"cut in the header":   {good[:40], CodeDamagedSnapshot, "header"},
		"cut in the version":  {good[:length-3], CodeDamagedSnapshot, "header"},
		"cut in the state":    {good[:len(good)-1], CodeDamagedSnapshot, "bytes"},
		"too long":            {append(bytes.Clone(good), 'x'), CodeDamagedSnapshot, "bytes"},
		"newer format":        {change(func(b []byte) []byte { b[8] = 2; return b }), CodeNewerFormat, "format 2"},
		"newer reader":        {put(16, uint32(newest)+1), CodeNewerFormat, `by version "1.2.3"`},
		"header length":       {change(func(b []byte) []byte { b[15] = 0x80; return b }), CodeDamagedSnapshot, "header"},
		"header bit":          {change(func(b []byte) []byte { b[41] ^= 1; return b }), CodeDamagedSnapshot, "header"},
		"state bit":           {change(func(b []byte) []byte { b[len(b)-9] ^= 1; return b }), CodeDamagedSnapshot, "checksum"},
		"another index":       {change(func(b []byte) []byte { b[41] ^= 1; return signed(b) }), CodeDamagedSnapshot, "another index"},
		"another cluster":     {change(func(b []byte) []byte { b[25] ^= 1; return signed(b) }), CodeDamagedSnapshot, "cluster"},
		"no JSON":             {body("{"), CodeDamagedSnapshot, "JSON"},
		"an entry that isn't": {body(`{"hubs":[null]}`), CodeDamagedSnapshot, "missing"},
		"an entry twice":      {body(`{"hubs":[{"id":"a"},{"id":"a"}]}`), CodeDamagedSnapshot, "twice"},
		"an entry unnamed":    {body(`{"tokens":[{}]}`), CodeDamagedSnapshot, "without a name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := InspectSnapshot(bytes.NewReader(c.b))
			if CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", CodeOf(err), err)
			}
			s := world(t)
			next, err := s.apply(s.Index+1, Restore{Snapshot: c.b, Force: true})
			if CodeOf(err) != c.code {
				t.Errorf("restored: %v", err)
			}
			if d := sameState(s.at(next.Index), next); d != "" {
				t.Errorf("the state has changed: %s", d)
			}
		})
	}
	if _, err := InspectSnapshot(iotest.ErrReader(io.ErrClosedPipe)); CodeOf(err) != "" || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that fails: %v", err)
	}
	b := bytes.Clone(good)
	binary.LittleEndian.PutUint64(b[48:], 1<<40)
	binary.LittleEndian.PutUint32(b[length-4:], crc32.Checksum(b[:length-4], castagnoli))
	if _, err := InspectSnapshot(bytes.NewReader(b)); CodeOf(err) != CodeDamagedSnapshot {
		t.Errorf("a state of a terabyte: %v", err)
	}
}

// TestEachFlippedBit of a snapshot is seen.
func TestEachFlippedBit(t *testing.T) {
	good := snapshotOf(t, world(t))
	for at := range good {
		for bit := range 8 {
			good[at] ^= 1 << bit
			if _, err := InspectSnapshot(bytes.NewReader(good)); CodeOf(err) == "" {
				t.Fatalf("bit %d of byte %d: %v", bit, at, err)
			}
			good[at] ^= 1 << bit
		}
	}
}

// TestSnapshotOfANewerBuild: what commands added that this build may ignore is left out.
func TestSnapshotOfANewerBuild(t *testing.T) {
	good := snapshotOf(t, world(t))
	length := binary.LittleEndian.Uint32(good[12:])
	var state map[string]any
	if err := json.Unmarshal(good[length:], &state); err != nil {
		t.Fatal(err)
	}
	state["moods"] = []string{"happy"}
	body, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := readSnapshot(bytes.NewReader(signed(append(bytes.Clone(good[:length]), body...))))
	if err != nil {
		t.Fatal(err)
	}
	if d := sameState(world(t), s); d != "" {
		t.Error(d)
	}
}

// TestRestore: the snapshot is the state, but for the hubs; an operator has to force another cluster's.
func TestRestore(t *testing.T) {
	old := world(t)
	s := then(t, old, CreateNamespace{Name: "later", Lineage: lin(30), Owner: hubNode("a"), Created: day}, DeleteNamespace{Name: "orders", At: day}, RemoveHub{ID: "b"})
	chain := s.Chain
	s = then(t, s, Restore{Snapshot: snapshotOf(t, old)})
	want := *old
	want.Index, want.Hubs, want.Chain, want.MinReader = s.Index, s.Hubs, chain, KindRestore
	if d := sameState(&want, s); d != "" || len(s.Hubs) != 2 {
		t.Errorf("%d hubs, %s", len(s.Hubs), d)
	}

	other := then(t, NewState(), Begin{lin(0xc2)}, SetHub{Hub{ID: "z", Instance: "i", Voter: true}})
	next, err := other.apply(other.Index+1, Restore{Snapshot: snapshotOf(t, old)})
	if CodeOf(err) != CodeOtherCluster || sameState(other.at(next.Index), next) != "" {
		t.Fatalf("another cluster's: %v", err)
	}
	other = then(t, other, Restore{Snapshot: snapshotOf(t, old), Force: true})
	if other.Cluster != old.Cluster || len(other.Hubs) != 1 || other.Namespaces["orders"] == nil {
		t.Errorf("forced: %+v", other)
	}
	like := then(t, NewState(), Begin{lin(0xc2)}, SetHub{Hub{ID: "edge-1", Instance: "i", Voter: true}})
	if _, err := like.apply(9, Restore{Snapshot: snapshotOf(t, old), Force: true}); CodeOf(err) != CodeNodeIDTaken {
		t.Errorf("a hub with a relayer's name: %v", err)
	}
	if _, err := other.apply(9, Restore{Snapshot: snapshotOf(t, NewState()), Force: true}); CodeOf(err) != CodeBadRequest {
		t.Errorf("the state of a group that hasn't begun: %v", err)
	}
}

// TestRestoreNeverLowersTerms: an owner's epochs go on rising.
func TestRestoreNeverLowersTerms(t *testing.T) {
	old := world(t)
	moved := *old.Namespaces["orders"]
	moved.Term, moved.Owner = 5, hubNode("b")
	s := *old
	s.Namespaces = map[string]*Namespace{"orders": &moved}
	if got := then(t, &s, Restore{Snapshot: snapshotOf(t, old)}).Namespaces["orders"]; got.Term != 6 || got.Owner != hubNode("a") {
		t.Errorf("%+v", got)
	}
	moved.Owner = hubNode("a")
	if got := then(t, &s, Restore{Snapshot: snapshotOf(t, old)}).Namespaces["orders"]; got.Term != 5 {
		t.Errorf("%+v", got)
	}
}

func FuzzReadSnapshot(f *testing.F) {
	good := snapshotOf(f, world(f))
	f.Add(good, false)
	f.Add(good[:100], false)
	f.Add(snapshotOf(f, NewState()), true)
	f.Add(good, true)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if len(b) > snapshotMost && sign { // reaches what the checksums hide
			length := binary.LittleEndian.Uint32(b[12:])
			if length >= snapshotLeast && length <= snapshotMost {
				b = signed(b)
			}
		}
		s, _, err := readSnapshot(bytes.NewReader(b))
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatal(err)
			}
			return
		}
		if d := sameState(s, throughSnapshot(t, s)); d != "" {
			t.Fatal(d)
		}
		for id := range s.Relayers {
			for _, name := range s.AssignedTo(id) {
				s.SourcesFor(id, name, "a")
			}
		}
	})
}
