//go:build linux && cgo

package dbkernel

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// crashDir tells a child process which directory to die on.
const crashDir = "UNISONDB_TEST_CRASH_DIR"

// TestCrashInsideTree has a child process die of a damaged LMDB file, and then
// starts on its directory.
func TestCrashInsideTree(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		dieInsideTree(t, dir)
		return
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestCrashInsideTree$")
	child.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the child lived: %v\n%s", err, out)
	}
	o := testOptions(t, nil)
	o.Dir, o.FS, o.GuardCrashes, o.Defaults.Storage.Engine = dir, nil, true, EngineLMDB
	for _, start := range []string{"after the crash", "once more"} {
		db, err := Open(o)
		if err != nil {
			t.Fatalf("%s: %v\n%s", start, err, out)
		}
		good, err := db.Namespace("good")
		if err != nil {
			t.Fatal(err)
		}
		wantKey(t, good, "k", "v")
		bad, err := db.Namespace("bad")
		if err != nil {
			t.Fatal(err)
		}
		if s := bad.Status(); s.State != StateQuarantined || s.Code != "DAMAGED" {
			t.Errorf("%s: %+v\n%s", start, s, out)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// dieInsideTree cuts a tree's file off below its map and reads it: SIGBUS.
func dieInsideTree(t *testing.T, dir string) {
	o := testOptions(t, nil)
	o.Dir, o.FS, o.GuardCrashes, o.Defaults.Storage.Engine = dir, nil, true, EngineLMDB
	db := openDB(t, o)
	for _, name := range []string{"good", "bad"} {
		n := createNS(t, db, name)
		putKey(t, n, "k", "v")
		for i := range 200 {
			putKey(t, n, string(sequentialTestKey(i)), string(make([]byte, 1000)))
		}
		flush(t, n)
	}
	if err := os.Truncate(filepath.Join(dir, namespacesDir, "bad", treeDir, "data.mdb"), 3*4096); err != nil {
		t.Fatal(err)
	}
	n, err := db.Namespace("bad")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		getKey(t, n, string(sequentialTestKey(i)))
	}
	t.Fatal("the process lives")
}

func sequentialTestKey(i int) []byte { return []byte{'k', byte(i >> 8), byte(i)} }
