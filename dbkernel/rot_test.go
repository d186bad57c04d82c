package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The rot test damages a closed database, a little at a time: a bit, a byte, a
// sector, the length, or two sectors that change places. Whatever it hits, the
// namespace refuses to open or a read refuses to answer, in words; or all is
// answered as it was. Nothing is answered wrong, nothing is deleted, nothing
// panics.

// rotDB is a closed database with what its keys are.
type rotDB struct {
	opts Options
	want map[string]string
	log  []codec.Record
	// vague says that the engine's pages carry no checksum, so that a damaged one
	// may hide keys. A value is still never wrong: each has its own.
	vague bool
}

// newRotDB writes some of everything. What comes last is in the log alone where
// the database was not closed cleanly.
func newRotDB(t *testing.T, o Options, beforeClose func()) *rotDB {
	t.Helper()
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	n, err := db.Create("rot", Lineage{7})
	if err != nil {
		t.Fatal(err)
	}
	m := newModel(crashTime)
	write := func(edits []edit) {
		m.apply(edits)
		if _, err := n.Update(context.Background(), func(tx *Tx) error {
			for _, d := range edits {
				if d.kind == editPutObject {
					continue
				}
				if err := txWriteEdit(context.Background(), tx, d); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		write([]edit{
			{kind: editPut, key: fmt.Sprintf("key/%02d", i%40), value: bytes.Repeat([]byte{byte(i)}, 40*i)},
			{kind: editPutColumn, key: fmt.Sprintf("row/%02d", i%7), column: fmt.Sprint(i % 3), value: []byte(fmt.Sprint(i))},
		})
		if i == 40 {
			flush(t, n)
		}
	}
	data := randomBytes(1, 30_000)
	putObject(t, n, "object", data)
	m.apply([]edit{{kind: editPutObject, key: "object", value: data}})
	want := m.dump()
	// Damage to the last group of a log that wasn't closed can't be told from a
	// torn write. These say of what came before that it was synced.
	for range 5 {
		write([]edit{{kind: editPut, key: "tail", value: make([]byte, 700)}})
	}
	log, err := readLog(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	beforeClose()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return &rotDB{opts: o, want: want, log: log}
}

// outcome says what became of a damaged database.
type outcome string

const (
	refused  outcome = "refused"  // the database or the namespace doesn't open
	readOnly outcome = "readonly" // it opens for reading
	partly   outcome = "partly"   // a read fails
	whole    outcome = "whole"    // the damage hit nothing that counts
)

// open opens the database and reads all of it. It answers an error where
// something is wrong or refused without a reason.
func (r *rotDB) open(fsys vfs.FS) (o outcome, err error) {
	opts := r.opts
	opts.FS, opts.Logger = fsys, hclog.NewNullLogger()
	db, err := Open(opts)
	if err != nil {
		return refused, inWords(err)
	}
	defer func() {
		if cerr := db.Close(); cerr != nil && o == whole {
			err = errors.Join(err, cerr)
		}
	}()
	n, err := db.Namespace("rot")
	if err != nil {
		return refused, inWords(err)
	}
	v, err := n.View()
	if err != nil {
		if s := n.Status(); s.State != StateQuarantined || s.Code == "" || s.Code == "NAMESPACE_UNAVAILABLE" {
			return refused, fmt.Errorf("the namespace refuses with %w, its status is %q %q", err, s.State, s.Code)
		}
		return refused, inWords(err)
	}
	defer v.Close()
	o = whole
	if n.Status().State != StateServing {
		o = readOnly
	}
	for what, want := range r.want {
		got, err := r.read(v, what)
		switch {
		case errors.Is(err, ErrDamaged), r.vague && errors.Is(err, ErrNotFound):
			if o == whole {
				o = partly
			}
		case err != nil:
			return o, fmt.Errorf("%s: %w", what, err)
		case got != want:
			return o, fmt.Errorf("%s is %.20q, expected %.20q", what, got, want)
		}
	}
	for _, key := range []string{"key/99", "nothing"} {
		if value, err := v.Get([]byte(key)); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
			return o, fmt.Errorf("%s was never written and is %.20q, %w", key, value.Data, err)
		}
	}
	page, err := v.Scan(Scan{Prefix: []byte("key/")})
	if err == nil && (len(page.Items) > 40 || len(page.Items) < 40 && !r.vague) {
		return o, fmt.Errorf("a scan finds %d keys, expected 40", len(page.Items))
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return o, fmt.Errorf("scan: %w", err)
	}
	return r.readLog(n, o)
}

// readLog reads the log as a follower would.
func (r *rotDB) readLog(n *Namespace, o outcome) (outcome, error) {
	records, err := readLog(context.Background(), n)
	if err != nil && o == whole {
		o = partly
	}
	if o == readOnly || errors.Is(err, ErrDamaged) {
		err = nil
	} else if err == nil && len(records) < len(r.log) {
		err = fmt.Errorf("the log has %d records, expected %d", len(records), len(r.log))
	}
	for i, rec := range records {
		if i < len(r.log) && !bytes.Equal(rec, r.log[i]) {
			err = errors.Join(err, fmt.Errorf("record LSN %d isn't what was written", i+1))
		}
	}
	return o, err
}

// read reads what one entry of a dump says.
func (r *rotDB) read(v *View, what string) (string, error) {
	kind, name, _ := strings.Cut(what, " ")
	switch kind {
	case "kv":
		value, err := v.Get([]byte(name))
		return string(value.Data), err
	case "row":
		i := strings.LastIndexByte(name, '/')
		row, err := v.GetRow([]byte(name[:i]), nil)
		value, ok := row.Columns[name[i+1:]]
		if err == nil && !ok {
			err = ErrNotFound
		}
		return string(value), err
	default:
		return readObject(v.n, []byte(name))
	}
}

// inWords checks that a refusal is one of the kernel's own and long enough to
// say what to do.
func inWords(err error) error {
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrInvalid) {
		return nil
	}
	return fmt.Errorf("refused, but not in the kernel's words: %w", err)
}

// damage is one way to change a file.
type damage struct {
	name  string
	apply func(rng *rand.Rand, b []byte) []byte
}

// place picks a byte, preferably one that isn't zero: much of a file is reserved
// and unused.
func place(rng *rand.Rand, b []byte) int {
	for range 100 {
		if i := rng.IntN(len(b)); b[i] != 0 {
			return i
		}
	}
	return rng.IntN(len(b))
}

var damages = []damage{
	{"bit", func(rng *rand.Rand, b []byte) []byte { b[place(rng, b)] ^= 1 << rng.IntN(8); return b }},
	{"byte", func(rng *rand.Rand, b []byte) []byte { b[place(rng, b)] = byte(rng.Uint32()); return b }},
	{"early bit", func(rng *rand.Rand, b []byte) []byte { b[rng.IntN(min(len(b), 200))] ^= 1 << rng.IntN(8); return b }},
	{"zeros", func(rng *rand.Rand, b []byte) []byte {
		at := place(rng, b) &^ 511
		clear(b[at:min(at+512, len(b))])
		return b
	}},
	{"truncation", func(rng *rand.Rand, b []byte) []byte { return b[:rng.IntN(len(b))] }},
	{"swap", func(rng *rand.Rand, b []byte) []byte {
		n := len(b) / 512
		if n < 2 {
			slices.Reverse(b)
			return b
		}
		i, j := min(place(rng, b)/512, n-1)*512, rng.IntN(n)*512
		sector := bytes.Clone(b[i : i+512])
		copy(b[i:i+512], b[j:j+512])
		copy(b[j:j+512], sector)
		return b
	}},
}

// fileTree is the content of all files below a directory.
func fileTree(t testing.TB, fsys vfs.FS, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := fsys.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			info, err := fsys.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(path)
				continue
			}
			b, err := readFile(fsys, path)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = b
		}
	}
	walk(dir)
	return files
}

// overwrite replaces a file's content, without any care.
func overwrite(t testing.TB, fsys vfs.FS, path string, b []byte) {
	t.Helper()
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	f, err := fsys.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 {
		_, err = f.WritevAt([][]byte{b}, 0)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// rot damages each file that is picked in every way, a few times.
func (r *rotDB) rot(t *testing.T, files map[string][]byte, times int, picked func(path string) bool, disk func() (vfs.FS, func(path string) string)) {
	seen := map[outcome]int{}
	for path, content := range files {
		if !picked(path) || len(content) == 0 {
			continue
		}
		for _, d := range damages {
			for i := range times {
				rng := rand.New(rand.NewPCG(uint64(i), uint64(len(path))))
				fsys, at := disk()
				overwrite(t, fsys, at(path), d.apply(rng, bytes.Clone(content)))
				before := fileTree(t, fsys, filepath.Dir(at(path)))
				o, err := r.open(fsys)
				seen[o]++
				if err != nil {
					t.Errorf("%s in %s, seed %d: %s: %v", d.name, path, i, o, err)
				}
				after := fileTree(t, fsys, filepath.Dir(at(path)))
				if o == refused {
					sameFiles(t, fmt.Sprintf("%s in %s, seed %d", d.name, path, i), before, after)
				}
			}
		}
	}
	t.Logf("%v", seen)
	if seen[refused]+seen[partly]+seen[readOnly] == 0 {
		t.Error("no damage was ever noticed")
	}
}

// sameFiles checks that no file was touched. The memory engine's own file is
// left out: that engine rewrites it at every start.
func sameFiles(t testing.TB, what string, before, after map[string][]byte) {
	t.Helper()
	for path, b := range before {
		if filepath.Base(path) == "data.mem" {
			continue
		}
		if got, ok := after[path]; !ok || !bytes.Equal(got, b) {
			t.Errorf("%s: %s was changed or deleted (there: %v, %d bytes, were %d)", what, path, ok, len(got), len(b))
		}
	}
}

// TestRotInMemory damages meta.json, the log and the tree of the memory engine,
// of a database that was closed and of one whose process was killed.
func TestRotInMemory(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed=%v", killed), func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			var cut *vfs.Mem // before Close flushes: most of the data is in the log alone
			r := newRotDB(t, faultOptions(mem), func() { cut = mem.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{}) })
			source := mem
			if killed {
				source = cut
			}
			r.rot(t, fileTree(t, source, r.opts.Dir), 12, func(path string) bool { return filepath.Base(path) != "LOCK" }, func() (vfs.FS, func(string) string) {
				return source.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{Keep: 1}), func(path string) string { return path }
			})
		})
	}
}

// TestRotInBolt damages bbolt's file.
func TestRotInBolt(t *testing.T) {
	r, source := newRotOnDisk(t, EngineBolt)
	r.vague = true
	files := fileTree(t, source, r.opts.Dir)
	r.rot(t, files, 12, func(path string) bool { return filepath.Base(filepath.Dir(path)) == treeDir }, r.copies(t))
}

// TestRotInLMDBValues damages values inside LMDB's file: its pages are the
// binding's own concern.
func TestRotInLMDBValues(t *testing.T) {
	r, source := newRotOnDisk(t, EngineLMDB)
	path := filepath.Join(r.opts.Dir, namespacesDir, "rot", treeDir, "data.mdb")
	content, err := readFile(source, path)
	if err != nil {
		t.Fatal(err)
	}
	disk := r.copies(t)
	seen := map[outcome]int{}
	for i := 20; i < 40; i++ {
		value := bytes.Repeat([]byte{byte(i)}, 40*i)
		at := bytes.Index(content, value)
		if at < 0 {
			t.Fatalf("value %d isn't in the file", i)
		}
		fsys, to := disk()
		damaged := bytes.Clone(content)
		damaged[at+i] ^= 1 << (i % 8)
		overwrite(t, fsys, to(path), damaged)
		o, err := r.open(fsys)
		seen[o]++
		if err != nil {
			t.Errorf("value %d: %s: %v", i, o, err)
		}
	}
	t.Logf("%v", seen)
	if seen[partly] == 0 {
		t.Error("no damage was noticed")
	}
}

func newRotOnDisk(t *testing.T, engine string) (*rotDB, vfs.FS) {
	t.Helper()
	o := faultOptions(vfs.OS())
	o.Dir = t.TempDir()
	o.Defaults.Storage.Engine = engine
	return newRotDB(t, o, func() {}), vfs.OS()
}

// copies makes a copy of the database for each damage, in place of the last.
func (r *rotDB) copies(t *testing.T) func() (vfs.FS, func(string) string) {
	files := fileTree(t, vfs.OS(), r.opts.Dir)
	from, dir := r.opts.Dir, t.TempDir()
	r.opts.Dir = dir
	return func() (vfs.FS, func(string) string) {
		to := func(path string) string { return strings.Replace(path, from, dir, 1) }
		if err := vfs.OS().RemoveAll(filepath.Join(dir, namespacesDir)); err != nil {
			t.Fatal(err)
		}
		for path, b := range files {
			if err := vfs.OS().MkdirAll(filepath.Dir(to(path))); err != nil {
				t.Fatal(err)
			}
			overwrite(t, vfs.OS(), to(path), b)
		}
		return vfs.OS(), to
	}
}

// TestNewerFormatTouchesNothing opens a namespace that a newer version wrote.
func TestNewerFormatTouchesNothing(t *testing.T) {
	mem := vfs.NewMem()
	r := newRotDB(t, faultOptions(mem), func() {})
	path := filepath.Join(r.opts.Dir, namespacesDir, "rot", metaName)
	m, err := readMeta(mem, filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	m.Format = metaFormat + 1
	if err := m.write(mem, filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	before := fileTree(t, mem, filepath.Dir(path))
	db, err := Open(r.opts)
	if err != nil {
		t.Fatal(err)
	}
	n, err := db.Namespace("rot")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.View(); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("reading: %v", err)
	}
	if _, err := n.Write(context.Background(), batchOf([]edit{{kind: editPut, key: "k", value: []byte("v")}})); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("writing: %v", err)
	}
	if s := n.Status(); s.State != StateQuarantined || s.Code != "NEWER_FORMAT" {
		t.Errorf("status: %+v", s)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	after := fileTree(t, mem, filepath.Dir(path))
	sameFiles(t, "a newer format", before, after)
	if len(after) != len(before) {
		t.Errorf("there are %d files, were %d", len(after), len(before))
	}
}
