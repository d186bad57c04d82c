package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/inspect"
	"github.com/unisondb/unisondb/server/servertest"
)

// offlineNode is a data directory with the namespace "orders", which has two records and an epoch.
func offlineNode(t *testing.T) (dataDir string) {
	t.Helper()
	dir := t.TempDir()
	o := dbkernel.Options{Dir: dir}
	o.Defaults.Storage.Engine = dbkernel.EngineBolt
	db, err := dbkernel.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	n, err := db.Create("orders", dbkernel.Lineage{1})
	if err != nil {
		t.Fatal(err)
	}
	for _, fill := range []func(*dbkernel.Batch) error{
		func(b *dbkernel.Batch) error { return b.Put([]byte("a\tb"), []byte(strings.Repeat("long ", 100)), 0) },
		func(b *dbkernel.Batch) error {
			if err := b.Delete([]byte("a\tb")); err != nil {
				return err
			}
			return b.Put([]byte("c"), []byte{0xff}, 0)
		},
	} {
		var b dbkernel.Batch
		if err := fill(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Write(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOperatorLogDump(t *testing.T) {
	dir := offlineNode(t)
	h := newHarness(t, success)
	dump := func(args ...string) result {
		return h.run(append([]string{"operator", "log", "dump", "-data-dir=" + dir, "-namespace=orders"}, args...)...)
	}
	r := dump()
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	if r.status != exitDone || len(lines) != 5 {
		t.Fatalf("%+v", r)
	}
	for i, parts := range [][]string{
		{"LSN", "EPOCH", "TIME", "OPERATION", "MODEL", "KEY", "VALUE"}, {"1 ", "epoch"}, {"2 ", "put", "kv", `"a\tb"`, "(500 B)"},
		{"3 ", "delete", "kv", `"a\tb"`}, {" ", "put", "kv", "c", `"\xff"`},
	} {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %d has no %q: %s", i, part, lines[i])
			}
		}
	}
	var records []inspect.Record
	decode(t, dump("-key=c", "-json").stdout, &records)
	if len(records) != 1 || records[0].LSN != 3 || len(records[0].Ops) != 1 || *records[0].Ops[0].Key != "c" {
		t.Errorf("%+v", records)
	}
	decode(t, dump("-from=2", "-to=2", "-json").stdout, &records)
	if len(records) != 1 || records[0].LSN != 2 || string(*records[0].Ops[0].Value) != strings.Repeat("long ", 100) {
		t.Errorf("%+v", records)
	}
	dump("-from=4", "-json").want(t, exitDone, "[]\n")
}

func TestOperatorLogDumpOfDamage(t *testing.T) {
	dir := offlineNode(t)
	segment := filepath.Join(inspect.Path(dir, "orders"), "wal", "segment-00000001")
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[4096+100+40+60] ^= 1 // in the second frame
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newHarness(t, success).run("operator", "log", "dump", "-path="+inspect.Path(dir, "orders"), "-json")
	var records []inspect.Record
	decode(t, r.stdout, &records)
	if r.status != exitFailed || len(records) == 0 || len(records) == 3 || !contains(r.stderr, "Damaged: ") {
		t.Errorf("%+v", r)
	}
}

func TestOperatorLogDumpRefuses(t *testing.T) {
	dir := offlineNode(t)
	h := newHarness(t, success)
	h.run("operator", "log", "dump").want(t, exitUsage, "", "-config", "-data-dir")
	h.run("operator", "log", "dump", "-data-dir="+dir, "-from=3", "-to=2").want(t, exitUsage, "", "in front of -from=3")
	h.run("operator", "log", "dump", "-data-dir="+dir, "-namespace=none").want(t, exitFailed, "", `no namespace "none"`, "it has orders")
	h.run("operator", "log", "dump", "-data-dir="+t.TempDir()).want(t, exitFailed, "", "is it a node's data directory?")
	h.run("operator", "log", "dump", "-path="+filepath.Join(dir, "LOCK")).want(t, exitFailed, "", "is no directory")
	h.run("operator", "log", "dump", "-config="+file(t, "nonsense = 1")).want(t, exitFailed, "", "nonsense", "-data-dir")
	db, err := dbkernel.Open(dbkernel.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	h.run("operator", "log", "dump", "-data-dir="+dir, "-namespace=orders").want(t, exitFailed, "", "a node runs on this data directory", "stop it first", "operator verify")
}

// logDump reads the log of a hub that has stopped.
func (g *operatorGroup) logDump() {
	hub := g.hubs[2]
	var made any
	g.json(hub, &made, "operator", "namespace", "create", "logged", "-owner="+hub.Config.NodeID)
	if r := g.run(hub, "kv", "put", "-namespace=logged", "a", "1"); r.status != exitDone {
		g.t.Fatal(r.stderr)
	}
	g.wantFailure(g.run(hub, "operator", "log", "dump", "-data-dir="+hub.Config.DataDir, "-namespace=logged"), "a node runs")
	hub.Stop()
	var records []inspect.Record
	g.json(g.hubs[0], &records, "operator", "log", "dump", "-data-dir="+hub.Config.DataDir, "-namespace=logged", "-key=a")
	if len(records) != 1 || string(*records[0].Ops[0].Value) != "1" {
		g.t.Errorf("%+v", records)
	}
}

// logVerify reads its files, and lets it run again.
func (g *operatorGroup) logVerify() {
	hub := g.hubs[2]
	var report inspect.Report
	r := g.run(g.hubs[0], "operator", "log", "verify", "-data-dir="+hub.Config.DataDir, "-namespace=logged", "-json")
	decode(g.t, r.stdout, &report)
	if r.status != exitDone || len(report.Problems) > 0 || report.Tree == nil || report.Tree.Cells != 1 {
		g.t.Errorf("%+v", r)
	}
	hub.Start()
	servertest.WaitForGroup(g.t, g.hubs...)
}
