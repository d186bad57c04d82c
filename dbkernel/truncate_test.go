package dbkernel

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/inspect"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// replicaOf makes a replica that has all of the owner's log.
func replicaOf(t testing.TB, owner *Namespace) (*DB, *Namespace) {
	t.Helper()
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Replica = true
	db := openDB(t, o)
	n, err := db.Create("test", owner.Status().Lineage)
	if err == nil {
		err = catchUpTo(testContext(t), n, owner)
	}
	if err != nil {
		t.Fatal(err)
	}
	return db, n
}

func readLines(t testing.TB, fsys vfs.FS, path string) (records []inspect.Record) {
	t.Helper()
	b, err := readFile(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		var rec inspect.Record
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&rec); err != nil {
			t.Fatalf("%s: %v in %s", path, err, lines.Text())
		}
		records = append(records, rec)
	}
	return records
}

func onlyAside(t testing.TB, db *DB) Aside {
	t.Helper()
	all, err := db.Aside()
	if err != nil || len(all) != 1 {
		t.Fatalf("aside: %+v, %v", all, err)
	}
	return all[0]
}

// TestTruncate cuts a replica's log: what is cut off can be read by a human, what is
// left goes on, and its epochs are forgotten with it.
func TestTruncate(t *testing.T) {
	ctx := testContext(t)
	o := testOptions(t, vfs.NewMem())
	ownerDB := openDB(t, o)
	owner := createNS(t, ownerDB, "test")
	kept := putKey(t, owner, "kept", "here")
	if err := ownerDB.Close(); err != nil {
		t.Fatal(err)
	}
	ownerDB = openDB(t, o)
	owner, err := ownerDB.Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	putKey(t, owner, "lost", "value")
	writeEdits(t, owner, edit{kind: editPutColumn, key: "row\xff", column: "col", value: []byte{1}}, edit{kind: editDeleteRow, key: "other"})
	lostAt := owner.Status().LSN
	putObject(t, owner, "object", []byte("bytes"))

	db, n := replicaOf(t, owner)
	tail, err := n.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	cut, err := db.Truncate(ctx, "test", kept.LSN, "history forks behind LSN 2")
	if err != nil {
		t.Fatal(err)
	}
	if s := cut.Status(); s.LSN != kept.LSN || s.CommitLSN != kept.LSN || s.State != StateServing || s.Epoch != kept.Epoch {
		t.Errorf("%+v", s)
	}
	m, err := readMeta(db.opts.FS, cut.dir)
	if err != nil || len(m.Epochs) != 1 || m.LastEpoch <= m.Epochs[0].Epoch {
		t.Errorf("meta.json has %+v, %v", m, err)
	}
	wantKey(t, cut, "kept", "here")
	wantNoKey(t, cut, "lost")
	if _, err := tail.Next(ctx, 1<<20); !errors.Is(err, ErrSuperseded) {
		t.Errorf("a tail of the old handle: %v", err)
	}
	if _, err := n.View(); !errors.Is(err, ErrSuperseded) {
		t.Errorf("a view of the old handle: %v", err)
	}
	if again, err := db.Namespace("test"); err != nil || again != cut {
		t.Errorf("the namespace is %p, %v; expected %p", again, err, cut)
	}

	a := onlyAside(t, db)
	if a.Namespace != "test" || a.Directory || a.FirstLSN != kept.LSN+1 || a.Reason != "history forks behind LSN 2" || a.Records != a.LastLSN-kept.LSN {
		t.Errorf("%+v", a)
	}
	records := readLines(t, db.opts.FS, a.Path)
	if uint64(len(records)) != a.Records || records[0].Kind != "epoch" || records[0].LSN != a.FirstLSN {
		t.Fatalf("%+v", records)
	}
	lost := records[1].Ops[0]
	if lost.Op != "put" || lost.Model != "kv" || lost.Key == nil || *lost.Key != "lost" || string(*lost.Value) != "value" {
		t.Errorf("%+v", lost)
	}
	row := records[lostAt-a.FirstLSN]
	if i := slices.IndexFunc(row.Ops, func(o inspect.Op) bool { return o.Op == "put" }); i < 0 || *row.Ops[i].Column != "col" || string(row.Ops[i].KeyBase64) != "row\xff" {
		t.Errorf("%+v", row)
	}
	if i := slices.IndexFunc(row.Ops, func(o inspect.Op) bool { return o.Op == "delete_row" }); i < 0 || *row.Ops[i].Key != "other" {
		t.Errorf("%+v", row)
	}
	if raw, _ := readFile(db.opts.FS, a.Path); !strings.Contains(string(raw), base64.StdEncoding.EncodeToString([]byte("bytes"))) {
		t.Errorf("an object's bytes are not in the file: %s", raw)
	}

	// The cut-off namespace takes the same records again.
	if err := sameState(ctx, cut, owner); err != nil {
		t.Error(err)
	}
	if again, err := db.Truncate(ctx, "test", cut.Status().LSN, "nothing"); err != nil || again != cut {
		t.Errorf("cutting nothing: %p, %v; expected %p", again, err, cut)
	}
}

// TestTruncatePastFork refuses to cut what the B+tree has, and touches nothing.
func TestTruncatePastFork(t *testing.T) {
	n := newTestNS(t)
	pos := putKey(t, n, "a", "1")
	putKey(t, n, "b", "2")
	flush(t, n)
	putKey(t, n, "c", "3")
	if _, err := n.db.Truncate(testContext(t), "test", pos.LSN, "fork"); !errors.Is(err, ErrPastFork) {
		t.Errorf("%v", err)
	}
	wantKey(t, n, "c", "3")
	if all, err := n.db.Aside(); err != nil || len(all) != 0 {
		t.Errorf("aside: %+v, %v", all, err)
	}
	putKey(t, n, "d", "4")
	flush(t, n)
}

// TestTruncateTwice has two files of records set aside at the same moment.
func TestTruncateTwice(t *testing.T) {
	ctx := testContext(t)
	o := testOptions(t, vfs.NewMem())
	o.Clock = newFakeClock().Now
	n := createNS(t, openDB(t, o), "test")
	for _, value := range []string{"1", "2"} {
		last := n.Status().LSN
		putKey(t, n, "key", value)
		var err error
		if n, err = n.db.Truncate(ctx, "test", last, "twice"); err != nil {
			t.Fatal(err)
		}
	}
	all, err := n.db.Aside()
	if err != nil || len(all) != 2 || all[0].Path == all[1].Path {
		t.Fatalf("%+v, %v", all, err)
	}
	putKey(t, n, "key", "3")
	wantKey(t, n, "key", "3")
	checkSound(t, n)
}

// TestSuperseded has calls wait on a handle that is superseded: they end with that,
// and so do later ones. A look-up during the switch waits for its end.
func TestSuperseded(t *testing.T) {
	ctx := testContext(t)
	n := newTestNS(t)
	db := n.db
	pos := putKey(t, n, "a", "1")
	putKey(t, n, "b", "2")
	late := pos
	late.LSN += 100
	tail, err := n.Tail("test", n.CommitLSN()+1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	putObject(t, n, "object", randomBytes(1, 3000))
	reader, err := n.OpenObject([]byte("object"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := tail.Next(ctx, 1<<20); err != nil {
		t.Fatal(err)
	}
	ends := make(chan error)
	go func() { ends <- n.WaitFor(ctx, late) }()
	go func() {
		_, err := tail.Next(ctx, 1)
		ends <- err
	}()
	v, err := n.View() // holds the switch up
	if err != nil {
		t.Fatal(err)
	}
	looked := make(chan *Namespace)
	switched := make(chan error)
	go func() {
		_, err := db.Truncate(ctx, "test", pos.LSN, "test")
		switched <- err
	}()
	for range 2 {
		if err := <-ends; !errors.Is(err, ErrSuperseded) {
			t.Errorf("a waiting call ended with %v", err)
		}
	}
	go func() {
		again, err := db.Namespace("test")
		if err != nil {
			t.Error(err)
		}
		looked <- again
	}()
	select {
	case <-looked:
		t.Error("a look-up didn't wait for the switch")
	case err := <-switched:
		t.Errorf("the switch didn't wait for a view: %v", err)
	default:
	}
	v.Close()
	if err := <-switched; err != nil {
		t.Fatal(err)
	}
	again := <-looked
	if again == n {
		t.Error("the old handle is still looked up")
	}
	for name, err := range map[string]error{
		"write": func() error { _, err := n.Write(ctx, batchOf([]edit{{kind: editPut, key: "k"}})); return err }(),
		"flush": n.Flush(ctx),
		"tail":  func() error { _, err := n.Tail("test", 1); return err }(),
		"read":  func() error { _, err := reader.ReadAt(make([]byte, 10), 0); return err }(),
		"wait":  n.WaitFor(ctx, pos),
	} {
		if !errors.Is(err, ErrSuperseded) {
			t.Errorf("%s on the old handle: %v", name, err)
		}
	}
	wantKey(t, again, "a", "1")
	wantNoKey(t, again, "b")
}

// TestSetAside moves a namespace away, also one that can't be opened, whose lineage
// is known all the same.
func TestSetAside(t *testing.T) {
	ctx := testContext(t)
	n := newTestNS(t)
	db := n.db
	lineage := n.Status().Lineage
	putKey(t, n, "a", "1")
	if err := db.SetAside(ctx, "test", "Replaced by `operator namespace create -replace`: it's another"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Namespace("test"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("%v", err)
	}
	a := onlyAside(t, db)
	if !a.Directory || a.Namespace != "test" || !strings.HasPrefix(a.Reason, "Replaced by `operator") || strings.ContainsAny(filepath.Base(a.Path), "`: ") {
		t.Errorf("%+v", a)
	}
	if m, err := readMeta(db.opts.FS, a.Path); err != nil || m.Lineage != lineage {
		t.Errorf("%+v, %v", m, err)
	}
	if err := db.SetAside(ctx, "test", "again"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("%v", err)
	}

	again := createNS(t, db, "test")
	putKey(t, again, "b", "2")
	lineage = again.Status().Lineage
	if err := db.SetAside(ctx, "other", "x"); !errors.Is(err, ErrNamespaceNotFound) {
		t.Errorf("%v", err)
	}
	// One that can't be opened.
	fsys, opts := db.opts.FS, db.opts
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(fsys, filepath.Join(again.dir, quarantineName), []byte("a test")); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, opts)
	n, err := db.Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	if s := n.Status(); s.State != StateQuarantined || s.Lineage != lineage {
		t.Errorf("%+v", s)
	}
	if err := db.SetAside(ctx, "test", "damaged"); err != nil {
		t.Fatal(err)
	}
	createNS(t, db, "test")
}

// TestQueuedAppendIsSuperseded has an append wait for room that a held flush doesn't
// make: it ends with the handle.
func TestQueuedAppendIsSuperseded(t *testing.T) {
	ctx := testContext(t)
	owner := newTestNS(t)
	for i := range 120 {
		writeEdits(t, owner, edit{kind: editPut, key: string(rune('a' + i%26)), value: make([]byte, 8<<10)})
	}
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Replica, o.Defaults.Storage.MemtableSize = true, MinMemtableSize
	db := openDB(t, o)
	n, err := db.Create("test", owner.Status().Lineage)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := owner.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	ended := make(chan error)
	go func() {
		for {
			run, err := tail.Next(ctx, 16<<10)
			if err == nil {
				err = n.Append(ctx, run.Records, 0) // nothing is committed, so nothing is flushed
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := n.advanced.wait(ctx, func() bool { list := n.mems.Load(); return list != nil && len(list.tables) > maxImmutable+1 }); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Truncate(ctx, "test", 5, "test"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrSuperseded) {
		t.Errorf("the append ended with %v", err)
	}
}

// TestSlowUploadHoldsNothingUp sets a namespace aside while a client sends an object
// and takes its time.
func TestSlowUploadHoldsNothingUp(t *testing.T) {
	ctx := testContext(t)
	n := newTestNS(t)
	body, client := io.Pipe()
	ended := make(chan error)
	go func() {
		_, _, err := n.PutObject(ctx, []byte("object"), body, 0, Cond{})
		ended <- err
	}()
	if _, err := client.Write(make([]byte, MaxChunkLen+1)); err != nil { // the first chunk is in the log
		t.Fatal(err)
	}
	if err := n.db.SetAside(ctx, "test", "test"); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrSuperseded) {
		t.Errorf("the upload ended with %v", err)
	}
}

// TestTruncateOnFullDisk cuts nothing that it can't set aside.
func TestTruncateOnFullDisk(t *testing.T) {
	ctx := testContext(t)
	var full atomic.Bool
	fsys := vfs.WithFaults(vfs.NewMem(), vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		if full.Load() && o.Kind.Writes() && strings.Contains(o.Path+o.To, asideDir) {
			return &vfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	}})
	n := createNS(t, openDB(t, testOptions(t, fsys)), "test")
	db := n.db
	pos := putKey(t, n, "a", "1")
	putKey(t, n, "b", "2")
	full.Store(true)
	if _, err := db.Truncate(ctx, "test", pos.LSN, "fork"); !errors.Is(err, ErrDiskFull) {
		t.Errorf("%v", err)
	}
	n, err := db.Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	wantKey(t, n, "b", "2")
	full.Store(false)
	if n, err = db.Truncate(ctx, "test", pos.LSN, "fork"); err != nil {
		t.Fatal(err)
	}
	wantKey(t, n, "a", "1")
	wantNoKey(t, n, "b")
	if a := onlyAside(t, db); a.FirstLSN != pos.LSN+1 {
		t.Errorf("%+v", a)
	}
}
