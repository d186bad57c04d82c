package inspect_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/inspect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// made is a data directory with a namespace "orders" of several segments, closed.
func made(t *testing.T, engine string) string {
	t.Helper()
	dir := t.TempDir()
	db := open(t, dir, engine)
	n, err := db.Create("orders", dbkernel.Lineage{7})
	if err != nil {
		t.Fatal(err)
	}
	write(t, n, 300)
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, n, 5)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir, engine string) *dbkernel.DB {
	t.Helper()
	s := dbkernel.DefaultStorage()
	s.Engine, s.SegmentSize = engine, dbkernel.MinSegmentSize
	db, err := dbkernel.Open(dbkernel.Options{Dir: dir, Defaults: dbkernel.NamespaceOptions{Storage: s}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func write(t *testing.T, n *dbkernel.Namespace, count int) {
	t.Helper()
	for i := range count {
		var b dbkernel.Batch
		if err := b.Put(fmt.Appendf(nil, "key %03d", i%100), bytes.Repeat([]byte{byte('a' + i%26)}, 1000), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Write(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t *testing.T, path string) inspect.Report {
	t.Helper()
	d, err := inspect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, d)
	r, err := d.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func closed(t *testing.T, d *inspect.Directory) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func dump(t *testing.T, path string, f inspect.Filter) (records []inspect.Record, problems []error) {
	t.Helper()
	d, err := inspect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, d)
	err = d.Dump(t.Context(), f, func(r inspect.Record) error { records = append(records, r); return nil },
		func(err error) { problems = append(problems, err) })
	if err != nil {
		t.Fatal(err)
	}
	return records, problems
}

// picture is all of a directory: names, sizes, times and bytes.
func picture(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.ModTime().UnixNano())
		if !e.IsDir() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x\n", sha256.Sum256(content))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSoundNamespace(t *testing.T) {
	for _, engine := range []string{dbkernel.EngineLMDB, dbkernel.EngineBolt} {
		t.Run(engine, func(t *testing.T) {
			dir := made(t, engine)
			before := picture(t, dir)
			path := inspect.Path(dir, "orders")
			r := verify(t, path)
			if len(r.Problems) > 0 || r.More > 0 || r.Log.Torn || r.Quarantine != "" {
				t.Errorf("%+v", r)
			}
			if r.Meta.Lineage != (dbkernel.Lineage{7}).String() || r.Meta.Engine != engine || len(r.Meta.Epochs) != 1 {
				t.Errorf("meta: %+v", r.Meta)
			}
			if r.Log.FirstLSN != 1 || r.Log.Records != r.Log.LastLSN || r.Log.Segments < 3 || r.Log.LastTime.Before(r.Log.FirstTime) {
				t.Errorf("log: %+v", r.Log)
			}
			if r.Tree.Cells != 100 || r.Tree.LSN != r.Log.LastLSN || r.Tree.Lineage != r.Meta.Lineage || r.Tree.Records != 305 {
				t.Errorf("tree: %+v", r.Tree)
			}
			dump(t, path, inspect.Filter{})
			if after := picture(t, dir); after != before {
				t.Errorf("looking has changed the files:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func TestDump(t *testing.T) {
	path := inspect.Path(made(t, dbkernel.EngineLMDB), "orders")
	all, problems := dump(t, path, inspect.Filter{})
	if len(problems) > 0 || len(all) < 306 || all[0].LSN != 1 || all[0].Kind != "epoch" {
		t.Fatalf("%d records, first %+v; %v", len(all), all[0], problems)
	}
	part, _ := dump(t, path, inspect.Filter{From: 50, To: 52})
	if len(part) != 3 || part[0].LSN != 50 || *part[0].Ops[0].Key != "key 048" || part[0].Ops[0].Op != "put" {
		t.Errorf("%+v", part)
	}
	of, _ := dump(t, path, inspect.Filter{Key: []byte("key 048")})
	if len(of) != 3 || of[0].LSN != 50 {
		t.Errorf("%+v", of)
	}
	if none, _ := dump(t, path, inspect.Filter{Key: []byte("key 04")}); len(none) != 0 {
		t.Errorf("%+v", none)
	}
}

func TestRefusesWhileANodeRuns(t *testing.T) {
	dir := made(t, dbkernel.EngineLMDB)
	path := inspect.Path(dir, "orders")
	db := open(t, dir, dbkernel.EngineLMDB)
	if _, err := inspect.Open(path); !errors.Is(err, inspect.ErrRunning) {
		t.Errorf("beside a node: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := inspect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := inspect.Open(path)
	if err != nil {
		t.Fatalf("beside another look: %v", err)
	}
	if _, err := dbkernel.Open(dbkernel.Options{Dir: dir}); !errors.Is(err, dbkernel.ErrLocked) {
		t.Errorf("a node beside a look: %v", err)
	}
	closed(t, d)
	closed(t, again)
	if _, err := inspect.Open(inspect.Path(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such namespace: %v", err)
	}
	if names, err := inspect.Namespaces(dir); err != nil || !slices.Equal(names, []string{"orders"}) {
		t.Errorf("%v, %v", names, err)
	}
}

// What was set aside or copied elsewhere needs no lock: no node has it.
func TestOtherDirectories(t *testing.T) {
	dir := made(t, dbkernel.EngineLMDB)
	db := open(t, dir, dbkernel.EngineLMDB)
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := db.SetAside(t.Context(), "orders", "it leaves"); err != nil {
		t.Fatal(err)
	}
	all, err := db.Aside()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if r := verify(t, all[0].Path); len(r.Problems) > 0 || r.Tree.Cells != 100 {
		t.Errorf("%+v", r)
	}
}

// segments are the files of the log, oldest first.
func segments(t *testing.T, path string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(path, "wal", "segment-*"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	slices.Sort(files)
	return files
}

func flip(t *testing.T, file string, off int64) (back func()) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[0] ^ 0x10}, off); err != nil {
		t.Fatal(err)
	}
	return func() {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt(b[:], off)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func wantProblem(t *testing.T, r inspect.Report, where, text string) {
	t.Helper()
	for _, p := range r.Problems {
		if p.Where == where && strings.Contains(p.Problem, text) {
			return
		}
	}
	t.Errorf("no problem of %s says %q: %+v", where, text, r.Problems)
}

// A flip anywhere in the log's headers, frames and records is found, wherever it is, and
// the rest is read all the same.
func TestFlipsInTheLog(t *testing.T) {
	path := inspect.Path(made(t, dbkernel.EngineBolt), "orders")
	files := segments(t, path)
	whole, _ := dump(t, path, inspect.Filter{})
	rng := rand.New(rand.NewPCG(1, 51))
	for i := range 24 {
		file := files[rng.IntN(len(files)-1)] // of the last one most is empty
		off := 4096 + rng.Int64N(40<<10)
		if i%6 == 0 {
			off = rng.Int64N(72)
		}
		back := flip(t, file, off)
		r := verify(t, path)
		if len(r.Problems) == 0 {
			t.Errorf("a flip at %d of %s isn't found", off, file)
		}
		rest, problems := dump(t, path, inspect.Filter{})
		if len(problems) == 0 || len(rest) == len(whole) {
			t.Errorf("with a flip at %d of %s a dump has %d of %d records, problems %v", off, file, len(rest), len(whole), problems)
		}
		if off >= 4096 && len(rest) < len(whole)-2 {
			t.Errorf("with a flip at %d of %s a dump has only %d of %d records: %v", off, file, len(rest), len(whole), problems)
		}
		back()
	}
	if r := verify(t, path); len(r.Problems) > 0 {
		t.Errorf("after all flips: %+v", r.Problems)
	}
}

// Damage in the part that is written to hides nothing that is behind it.
func TestFlipInTheLastSegment(t *testing.T) {
	path := inspect.Path(made(t, dbkernel.EngineBolt), "orders")
	whole, _ := dump(t, path, inspect.Filter{})
	files := segments(t, path)
	flip(t, files[len(files)-1], 4096+40+100)
	r := verify(t, path)
	wantProblem(t, r, "log", "says that")
	rest, problems := dump(t, path, inspect.Filter{})
	if len(problems) == 0 || len(rest) != len(whole)-1 || rest[len(rest)-1].LSN != whole[len(whole)-1].LSN {
		t.Errorf("%d of %d records, up to LSN %d; problems: %v", len(rest), len(whole), rest[len(rest)-1].LSN, problems)
	}
}

func TestBadMeta(t *testing.T) {
	path := inspect.Path(made(t, dbkernel.EngineBolt), "orders")
	name := filepath.Join(path, "meta.json")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for text, content := range map[string]string{
		"checksum":             strings.Replace(string(good), `"last_epoch": 1`, `"last_epoch": 2`, 1),
		"no JSON":              "{",
		"what it is":           "{}",
		"format 2, this build": strings.Replace(string(good), `"format": 1`, `"format": 2`, 1),
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantProblem(t, verify(t, path), "meta", text)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, verify(t, path), "meta", "no such file")
}

func TestWhatIsMissing(t *testing.T) {
	missing := func(t *testing.T, remove func(files []string) []string) inspect.Report {
		t.Helper()
		path := inspect.Path(made(t, dbkernel.EngineLMDB), "orders")
		for _, file := range remove(segments(t, path)) {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
		}
		return verify(t, path)
	}
	t.Run("in the middle", func(t *testing.T) {
		wantProblem(t, missing(t, func(f []string) []string { return f[2:3] }), "log", "the segment is missing")
	})
	t.Run("the last ones", func(t *testing.T) {
		wantProblem(t, missing(t, func(f []string) []string { return f[2:] }), "namespace", "the log's last segments are missing")
	})
	t.Run("all but one, which is no segment", func(t *testing.T) {
		r := missing(t, func(f []string) []string {
			if err := os.WriteFile(f[0], []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			return f[1:]
		})
		wantProblem(t, r, "log", "too short for a header")
		if r.Log.Segments != 0 || r.Tree == nil {
			t.Errorf("%+v", r)
		}
	})
	t.Run("the log", func(t *testing.T) {
		wantProblem(t, missing(t, func(f []string) []string { return []string{filepath.Dir(f[0])} }), "log", "no such file")
	})
	t.Run("the tree", func(t *testing.T) {
		r := missing(t, func(f []string) []string { return []string{filepath.Join(filepath.Dir(filepath.Dir(f[0])), "db")} })
		wantProblem(t, r, "tree", "file does not exist")
		if r.Log == nil || r.Tree != nil {
			t.Errorf("%+v", r)
		}
	})
	t.Run("trimmed behind the checkpoint", func(t *testing.T) {
		r := missing(t, func(f []string) []string { return f[:2] })
		if len(r.Problems) > 0 || r.Log.FirstLSN == 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A value that has changed in the tree's file.
func TestFlipsInTheTree(t *testing.T) {
	for engine, file := range map[string]string{dbkernel.EngineLMDB: "data.mdb", dbkernel.EngineBolt: "data.bolt"} {
		t.Run(engine, func(t *testing.T) {
			path := inspect.Path(made(t, engine), "orders")
			name := filepath.Join(path, "db", file)
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for at, value := 0, bytes.Repeat([]byte("c"), 1000); found < 20; found++ {
				next := bytes.Index(content[at:], value)
				if next < 0 {
					break
				}
				at += next + len(value)
				flip(t, name, int64(at-500))
			}
			r := verify(t, path)
			if found == 0 || len(r.Problems) == 0 {
				t.Fatalf("%d values were changed, problems: %+v", found, r.Problems)
			}
			wantProblem(t, r, "tree", "CRC")
		})
	}
}

func TestVerifyEndsWithTheContext(t *testing.T) {
	d, err := inspect.Open(inspect.Path(made(t, dbkernel.EngineBolt), "orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Verify(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
