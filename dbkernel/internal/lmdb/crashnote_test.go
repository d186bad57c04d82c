//go:build cgo

package lmdb

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func init() {
	children["bus"] = childBus
	children["segv"] = childSegv
	children["busy"] = childBusy
	children["clean"] = childClean
}

// Children find their directory here; it has the crash note "note" and the
// environments "a" and "b".
const childDir = "LMDB_TEST_DIR"

// openChild sets the note and opens both environments.
func openChild() (a, b *Env) {
	dir := os.Getenv(childDir)
	check(SetCrashNote(filepath.Join(dir, "note")))
	envs := make([]*Env, 2)
	for i, name := range []string{"a", "b"} {
		env, err := NewEnv()
		check(err)
		check(env.SetMapSize(1 << 24))
		env.SetName("namespace-" + name)
		check(os.MkdirAll(filepath.Join(dir, name), 0o700))
		check(env.Open(filepath.Join(dir, name), 0, 0o600))
		check(env.Update(func(txn *Txn) error {
			dbi, err := txn.OpenRoot(0)
			check(err)
			for i := range 1000 {
				check(txn.Put(dbi, []byte{byte(i >> 8), byte(i)}, make([]byte, 500), 0))
			}
			return nil
		}))
		envs[i] = env
	}
	return envs[0], envs[1]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func readAll(env *Env) error {
	return env.View(func(txn *Txn) error {
		dbi, err := txn.OpenRoot(0)
		if err != nil {
			return err
		}
		for i := range 1000 {
			if _, err := txn.Get(dbi, []byte{byte(i >> 8), byte(i)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// childBus cuts a file off under its map: SIGBUS.
func childBus() {
	a, b := openChild()
	check(os.Truncate(filepath.Join(os.Getenv(childDir), "b", "data.mdb"), 3*4096))
	check(readAll(a))
	check(readAll(b))
}

// childSegv damages the offsets of a leaf page, so that LMDB reads far behind
// the map: SIGSEGV, or SIGBUS where something is mapped there.
func childSegv() {
	a, b := openChild()
	path := filepath.Join(os.Getenv(childDir), "a", "data.mdb")
	data, err := os.ReadFile(path)
	check(err)
	const pageSize = 4096
	for off := 2 * pageSize; off < len(data); off += pageSize {
		page := data[off : off+pageSize]
		if page[10] != flagLeaf {
			continue
		}
		// Each node's value is said to lie on overflow pages of a huge number.
		for at := pageHeaderLen; at < int(page[12])|int(page[13])<<8; at += 2 {
			node := int(page[at]) | int(page[at+1])<<8
			page[node+4] |= nodeBigData
			for i := range 8 {
				page[node+nodeHeaderLen+2+i] = 0x7f
			}
		}
	}
	check(os.WriteFile(path, data, 0o600))
	check(readAll(b))
	// LMDB finds that the page number is too high, and says so.
	if err := readAll(a); !IsErrno(err, PageNotFound) {
		panic(err)
	}
	// What it can't find out: a map that is gone.
	for _, line := range maps() {
		if strings.HasSuffix(line, "/a/data.mdb") {
			unmap(line)
		}
	}
	check(readAll(a))
}

// childBusy is always inside a call on "a", until it is killed.
func childBusy() {
	a, _ := openChild()
	pr, pw, err := os.Pipe()
	check(err)
	go func() {
		// Nobody reads: the copy stays inside.
		check(a.CopyFD(pw.Fd()))
	}()
	if _, err := pr.Read(make([]byte, 1)); err != nil {
		panic(err)
	}
	if _, err := os.Stdout.WriteString("inside\n"); err != nil {
		panic(err)
	}
	select {} // the copy's goroutine keeps the runtime from calling this a deadlock
}

func childClean() {
	a, b := openChild()
	check(readAll(a))
	check(errors.Join(a.Close(), b.Close(), CloseCrashNote()))
}

func runChild(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+name, childDir+"="+dir, "GOTRACEBACK=crash")
	cmd.Dir = dir // for a core file, should there be one
	return cmd
}

func TestCrashNoteAfterSignals(t *testing.T) {
	for child, want := range map[string]string{"bus": "namespace-b", "segv": "namespace-a"} {
		t.Run(child, func(t *testing.T) {
			dir := t.TempDir()
			out, err := runChild(t, child, dir).CombinedOutput()
			if err == nil {
				t.Fatal("the child survived")
			}
			if s := string(out); !strings.Contains(s, "signal arrived during cgo execution") {
				t.Fatalf("the child died of something else: %v\n%s", err, s)
			}
			inside, err := ReadCrashNote(filepath.Join(dir, "note"))
			if err != nil || !slices.Equal(inside, []string{want}) {
				t.Errorf("inside: %q, %v; expected %q", inside, err, want)
			}
		})
	}
}

func TestCrashNoteAfterKill(t *testing.T) {
	dir := t.TempDir()
	cmd := runChild(t, "busy", dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := out.Read(make([]byte, 7)); err != nil {
		t.Errorf("the child says nothing: %v", err)
	}
	must(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait() // killed
	inside, err := ReadCrashNote(filepath.Join(dir, "note"))
	if err != nil || !slices.Equal(inside, []string{"namespace-a"}) {
		t.Errorf("inside: %q, %v", inside, err)
	}
}

func TestCrashNoteAfterCleanEnd(t *testing.T) {
	dir := t.TempDir()
	if out, err := runChild(t, "clean", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	inside, err := ReadCrashNote(filepath.Join(dir, "note"))
	if err != nil || len(inside) != 0 {
		t.Errorf("inside: %q, %v", inside, err)
	}
}

func TestCrashNote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "note")
	if inside, err := ReadCrashNote(path); err != nil || inside != nil {
		t.Errorf("absent: %q, %v", inside, err)
	}
	must(t, os.WriteFile(path, []byte("something else"), 0o600))
	if _, err := ReadCrashNote(path); err == nil {
		t.Error("something else was read as a note")
	}
	must(t, SetCrashNote(path))
	if err := SetCrashNote(path); err == nil {
		t.Error("a second note was set")
	}
	env := newEnv(t, t.TempDir(), 1<<20)
	if err := CloseCrashNote(); !errors.Is(err, ErrCrashNoteInUse) {
		t.Errorf("close under an environment: %v", err)
	}
	slots := make([]*noteSlot, 0, noteSlots)
	for {
		s := claimNoteSlot(strings.Repeat("n", 300))
		if s == nil {
			break
		}
		slots = append(slots, s)
	}
	if len(slots) != noteSlots-1 {
		t.Errorf("%d slots", len(slots))
	}
	unlisted := newEnv(t, t.TempDir(), 1<<20)
	must(t, unlisted.Close())
	*slots[5].counter = 3
	inside, err := ReadCrashNote(path)
	if err != nil || len(inside) != 1 || inside[0] != strings.Repeat("n", noteSlotLen-noteNameOff) {
		t.Errorf("inside: %q, %v", inside, err)
	}
	for _, s := range slots {
		s.release()
	}
	reused := claimNoteSlot("again")
	if reused == nil || *reused.counter != 0 {
		t.Error("a slot that was given back isn't clean")
	}
	reused.release()
	must(t, env.Close())
	must(t, CloseCrashNote())
	must(t, CloseCrashNote())
	runtime.KeepAlive(slots)
}

// maps lists this process's mappings.
func maps() []string {
	b, err := os.ReadFile("/proc/self/maps")
	check(err)
	return strings.Split(string(b), "\n")
}

// unmap takes a mapping away, given its line in /proc/self/maps.
func unmap(line string) {
	from, rest, _ := strings.Cut(line, "-")
	to, _, _ := strings.Cut(rest, " ")
	start, end := parseHex(from), parseHex(to)
	if _, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, start, end-start, 0); errno != 0 {
		panic(errno)
	}
}

func parseHex(s string) (n uintptr) {
	for _, c := range s {
		n = n<<4 | uintptr(strings.IndexRune("0123456789abcdef", c))
	}
	return n
}
