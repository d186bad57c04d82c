//go:build cgo

package btree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/internal/lmdb"
)

// TestMapGrowsAhead fills a tree in small steps: no transaction ever has to be
// run twice, because the map grows before it is full.
func TestMapGrowsAhead(t *testing.T) {
	e := newEngine(t, EngineLMDB)
	e.o.MapSize = 1 << 20
	tree := e.open(t)
	runs, updates := 0, 0
	for i := range 400 {
		updates++
		update(t, tree, func(tx Tx) error {
			runs++
			for j := range 10 {
				if err := tx.Put(fmt.Appendf(nil, "%04d-%d", i, j), make([]byte, 1000)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	st, err := tree.Stats()
	if err != nil || runs != updates || st.MapBytes < 5<<20 || st.FileBytes*100 > st.MapBytes*lmdbFullPercent {
		t.Errorf("%d updates, %d runs, %+v, %v", updates, runs, st, err)
	}
}

// TestUpdateIsRunAgain fills more than the map holds in one transaction, and
// ignores that it failed.
func TestUpdateIsRunAgain(t *testing.T) {
	e := newEngine(t, EngineLMDB)
	e.o.MapSize = 1 << 16
	tree := e.open(t)
	runs := 0
	update(t, tree, func(tx Tx) error {
		runs++
		for i := range 300 {
			_ = tx.Put(fmt.Appendf(nil, "k%03d", i), bytes.Repeat([]byte{byte(runs)}, 5000)) // the tree notices by itself
		}
		return nil
	})
	s := snapshot(t, tree)
	defer s.Release()
	all := scan(t, s)
	if len(all) != 300 || runs < 2 {
		t.Fatalf("%d keys after %d runs", len(all), runs)
	}
	for _, p := range all {
		if !bytes.Equal(p.Value, bytes.Repeat([]byte{byte(runs)}, 5000)) {
			t.Fatalf("%s is of another run", p.Key)
		}
	}
}

// TestGrowingWaitsForASnapshot: the update goes through when it is released.
func TestGrowingWaitsForASnapshot(t *testing.T) {
	e := newEngine(t, EngineLMDB)
	e.o.MapSize = 1 << 16
	tree := e.open(t)
	put(t, tree, "a", "1")
	s := snapshot(t, tree)
	var wg sync.WaitGroup
	ran := make(chan struct{}, 10)
	wg.Go(func() {
		err := tree.Update(func(tx Tx) error {
			ran <- struct{}{}
			return tx.Put([]byte("b"), make([]byte, 1<<20))
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-ran // and the map is full
	if got := get(t, s, "a"); got != "=1" {
		t.Errorf("a %s", got)
	}
	s.Release()
	<-ran
	wg.Wait()
	s = snapshot(t, tree)
	defer s.Release()
	if got := get(t, s, "b"); len(got) != 1<<20+1 {
		t.Errorf("b has %d bytes", len(got)-1)
	}
}

func TestLMDBNamesItselfInTheCrashNote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "note")
	if err := lmdb.SetCrashNote(path); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lmdb.CloseCrashNote(); err != nil {
			t.Error(err)
		}
	}()
	e := newEngine(t, EngineLMDB)
	e.o.Name, e.o.Noted = "the-namespace", true
	tree := e.open(t)
	put(t, tree, "a", "1")
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(b, []byte("the-namespace")) {
		t.Errorf("the note doesn't name the tree: %v", err)
	}
	if inside, err := lmdb.ReadCrashNote(path); err != nil || len(inside) != 0 {
		t.Errorf("inside: %q, %v", inside, err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
}

func init() {
	children["memory"] = childMemory
	children["many"] = childMany
}

// rssAnon is the process's anonymous memory in bytes, 0 where it isn't known.
func rssAnon() int64 {
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), "RssAnon:")
	if !ok {
		return 0
	}
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	must(err)
	return kb << 10
}

// childMemory prints its anonymous memory before a large transaction, after it,
// and when the tree is closed.
func childMemory() {
	tree, err := Open(Options{Engine: EngineLMDB, Dir: os.Getenv(childDir)})
	must(err)
	before := rssAnon()
	value := make([]byte, 1000)
	for range 2 {
		must(tree.Update(func(tx Tx) error {
			for i := range 20_000 { // in no order: pages are split, and half full
				if err := tx.Put(fmt.Appendf(nil, "key-%06d", i*7919%1_000_003), value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	open := rssAnon()
	must(tree.Close())
	fmt.Println(before, open, rssAnon())
}

// measure runs a child and returns the numbers that it prints.
func measure(t *testing.T, child string, numbers ...any) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+child, childDir+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := fmt.Sscan(string(out), numbers...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestCloseGivesMemoryBack: a large transaction leaves its pages in the
// environment; they must go with it.
func TestCloseGivesMemoryBack(t *testing.T) {
	var before, open, after int64
	measure(t, "memory", &before, &open, &after)
	t.Logf("RssAnon in MiB: before %d, after the transaction %d, closed %d", before>>20, open>>20, after>>20)
	if before == 0 {
		t.Skip("the system doesn't say what memory is anonymous")
	}
	if open-before < 15<<20 || after-before > (open-before)/3 {
		t.Errorf("of %d MiB, %d stay", (open-before)>>20, (after-before)>>20)
	}
}

const manyTrees = 100

// childMany prints its anonymous memory before it opens many trees, with all open
// and used once, closed, and after a second round of the same.
func childMany() {
	numbers := []any{rssAnon()}
	for range 2 {
		trees := make([]Tree, manyTrees)
		for i := range trees {
			tree, err := Open(Options{Engine: EngineLMDB, Dir: filepath.Join(os.Getenv(childDir), strconv.Itoa(i))})
			must(err)
			must(tree.Update(func(tx Tx) error { return tx.Put([]byte("a"), []byte("1")) }))
			_, err = readAny(tree)
			must(err)
			trees[i] = tree
		}
		numbers = append(numbers, rssAnon())
		for _, tree := range trees {
			must(tree.Close())
		}
		numbers = append(numbers, rssAnon())
	}
	fmt.Println(numbers...)
}

func readAny(tree Tree) ([]byte, error) {
	s, err := tree.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Release()
	v, _, err := s.Get([]byte("a"))
	return v, err
}

// TestIdleTreesAreSmall: LMDB allocates 3 MB for each environment, of which only
// what is touched may count.
func TestIdleTreesAreSmall(t *testing.T) {
	var before, open, closed, openAgain, closedAgain int64
	measure(t, "many", &before, &open, &closed, &openAgain, &closedAgain)
	each := func(n int64) int64 { return (n - before) / manyTrees >> 10 }
	t.Logf("KiB a tree: open %d, closed %d; again: open %d, closed %d", each(open), each(closed), each(openAgain), each(closedAgain))
	if before == 0 {
		t.Skip("the system doesn't say what memory is anonymous")
	}
	if each(open) > 100 || each(openAgain) > 100 {
		t.Error("too much")
	}
}

// TestIdleReadersPinNothing reads between updates that replace everything: the
// file stays at a few times the data, whatever idle readers there are.
func TestIdleReadersPinNothing(t *testing.T) {
	e := newEngine(t, EngineLMDB)
	tree := e.open(t)
	for n := range uint64(100) {
		update(t, tree, func(tx Tx) error { return writeUniform(tx, n, 3000) })
		if got, err := readOnce(tree, n); got != n || err != nil {
			t.Fatalf("read %d, %v; expected %d", got, err, n)
		}
	}
	st, err := tree.Stats()
	if err != nil || st.FileBytes > 6*st.UsedBytes {
		t.Errorf("stats %+v, %v", st, err)
	}
}

// TestBackupMakesRoom: the map can't grow while a backup runs, so that it grows
// before.
func TestBackupMakesRoom(t *testing.T) {
	e := newEngine(t, EngineLMDB)
	e.o.MapSize = 1 << 20
	tree := e.open(t)
	update(t, tree, func(tx Tx) error { return writeUniform(tx, 1, 3000) })
	if _, err := readOnce(tree, 0); err != nil { // leaves an idle reader
		t.Fatal(err)
	}
	before, err := tree.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Backup(io.Discard); err != nil {
		t.Fatal(err)
	}
	if after, err := tree.Stats(); err != nil || after.MapBytes <= before.MapBytes || after.MapBytes < 4*after.FileBytes {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
}

// TestNodesOfAnotherKind flips the bit of each leaf's node that says that it holds a
// database. LMDB refuses to delete it as one asks for a value, which says that the page is
// damaged, and not that another program wrote the file.
func TestNodesOfAnotherKind(t *testing.T) {
	const (
		pageSize, pageHead = 4096, 16
		leafPage           = 0x02 // in a page's flags
		subData            = 0x02 // in a node's flags
	)
	e := newEngine(t, EngineLMDB)
	fill(t, e)
	file := dataFileOf(t, e)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for page := 2 * pageSize; page < len(b); page += pageSize {
		p := b[page : page+pageSize]
		if binary.NativeEndian.Uint16(p[10:]) != leafPage {
			continue
		}
		for at := pageHead; at < pageHead+int(binary.NativeEndian.Uint16(p[12:])); at += 2 {
			if node := int(binary.NativeEndian.Uint16(p[at:])); node >= pageHead && node < pageSize-8 {
				p[node+4] |= subData
			}
		}
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := Open(e.o)
	if err == nil {
		err = tree.Update(func(tx Tx) error {
			c, err := tx.Cursor()
			if err != nil {
				return err
			}
			c.Seek(nil)
			key := bytes.Clone(c.Key())
			c.Close()
			return tx.Delete(key)
		})
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("deleting from the damaged pages: %v", err)
	}
}
