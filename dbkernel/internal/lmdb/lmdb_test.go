//go:build cgo

package lmdb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// children are what the test binary does instead of testing when a test starts
// it again as another process.
var children = map[string]func(){}

const childEnv = "LMDB_TEST_CHILD"

func TestMain(m *testing.M) {
	if child, ok := children[os.Getenv(childEnv)]; ok {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

func newEnv(t testing.TB, dir string, mapSize int64) *Env {
	t.Helper()
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	env.SetName(dir)
	if err := errors.Join(env.SetMapSize(mapSize), env.SetMaxReaders(30)); err != nil {
		t.Fatal(err)
	}
	if err := env.Open(dir, 0, 0o600); err != nil {
		t.Fatal(err)
	}
	return env
}

// testEnv opens an environment for the length of the test.
func testEnv(t testing.TB) (*Env, DBI) {
	t.Helper()
	env := newEnv(t, t.TempDir(), 1<<24)
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return env, root(t, env)
}

func root(t testing.TB, env *Env) (dbi DBI) {
	t.Helper()
	must(t, env.View(func(txn *Txn) (err error) {
		dbi, err = txn.OpenRoot(0)
		return err
	}))
	return dbi
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErrno checks that err is the failure of a call with the code.
func wantErrno(t testing.TB, what string, err, code error) {
	t.Helper()
	var op *OpError
	if !errors.As(err, &op) || !errors.Is(err, code) {
		t.Errorf("%s: %v, expected %v", what, err, code)
	}
}

func TestVersion(t *testing.T) {
	if major, minor, _, s := Version(); major != 0 || minor != 9 || !strings.Contains(s, "LMDB 0.9") {
		t.Errorf("version %d.%d, %q", major, minor, s)
	}
}

func TestPutGetDel(t *testing.T) {
	env, dbi := testEnv(t)
	long := bytes.Repeat([]byte("long"), 10000)
	must(t, env.Update(func(txn *Txn) error {
		must(t, txn.Put(dbi, []byte("a"), []byte("1"), 0))
		must(t, txn.Put(dbi, []byte("empty"), nil, 0))
		must(t, txn.Put(dbi, []byte("long"), long, 0))
		wantErrno(t, "put of a key that is there", txn.Put(dbi, []byte("a"), nil, NoOverwrite), KeyExist)
		wantErrno(t, "put of an empty key", txn.Put(dbi, nil, nil, 0), BadValSize)
		wantErrno(t, "put of a long key", txn.Put(dbi, make([]byte, 512), nil, 0), BadValSize)
		wantErrno(t, "del of an absent key", txn.Del(dbi, []byte("b"), nil), NotFound)
		room, err := txn.PutReserve(dbi, []byte("reserved"), 5, 0)
		must(t, err)
		copy(room, "12345")
		must(t, txn.Put(dbi, []byte("gone"), nil, 0))
		return txn.Del(dbi, []byte("gone"), nil)
	}))
	for _, raw := range []bool{false, true} {
		must(t, env.View(func(txn *Txn) error {
			txn.RawRead = raw
			for k, want := range map[string]string{"a": "1", "empty": "", "long": string(long), "reserved": "12345"} {
				v, err := txn.Get(dbi, []byte(k))
				if err != nil || v == nil || string(v) != want {
					t.Errorf("raw %t: %s has %d bytes, %v", raw, k, len(v), err)
				}
			}
			_, err := txn.Get(dbi, []byte("gone"))
			if !IsNotFound(err) {
				t.Errorf("get of an absent key: %v", err)
			}
			if err := txn.Put(dbi, []byte("a"), nil, 0); !IsErrnoSys(err, syscall.EACCES) {
				t.Errorf("put in a read-only transaction: %v", err)
			}
			st, err := txn.Stat(dbi)
			if err != nil || st.Entries != 4 || st.OverflowPages == 0 {
				t.Errorf("stat %+v, %v", st, err)
			}
			return nil
		}))
	}
}

func TestUpdateAborts(t *testing.T) {
	env, dbi := testEnv(t)
	stop := errors.New("stop")
	err := env.Update(func(txn *Txn) error {
		must(t, txn.Put(dbi, []byte("a"), nil, 0))
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("update: %v", err)
	}
	if st, err := env.Stat(); err != nil || st.Entries != 0 {
		t.Errorf("stat: %+v, %v", st, err)
	}
}

func TestCursor(t *testing.T) {
	env, dbi := testEnv(t)
	must(t, env.Update(func(txn *Txn) error {
		c, err := txn.OpenCursor(dbi)
		must(t, err)
		for i := range 100 {
			must(t, c.Put(fmt.Appendf(nil, "k%02d", i), fmt.Appendf(nil, "v%d", i), Append))
		}
		wantErrno(t, "append of a key that is not the last", c.Put([]byte("k50"), nil, Append), KeyExist)
		_, _, err = c.Get([]byte("k10"), nil, Set)
		must(t, err)
		must(t, c.Put([]byte("k10"), []byte("a longer value"), Current))
		_, _, err = c.Get([]byte("k20"), nil, SetKey)
		must(t, err)
		return c.Del(0) // the commit ends the cursor
	}))
	txn, err := env.BeginTxn(nil, Readonly)
	must(t, err)
	c, err := txn.OpenCursor(dbi)
	must(t, err)
	step := func(set string, op uint, wantKey, wantVal string) {
		t.Helper()
		var key []byte
		if set != "" {
			key = []byte(set)
		}
		k, v, err := c.Get(key, nil, op)
		if wantKey == "" {
			if !IsNotFound(err) {
				t.Errorf("op %d: %q, %v", op, k, err)
			}
			return
		}
		if err != nil || string(k) != wantKey || string(v) != wantVal {
			t.Errorf("op %d: %q %q, %v", op, k, v, err)
		}
	}
	step("", First, "k00", "v0")
	step("", Prev, "", "")
	step("", Last, "k99", "v99")
	step("", Next, "", "")
	step("k10", Set, "k10", "a longer value")
	step("", GetCurrent, "k10", "a longer value")
	step("", Next, "k11", "v11")
	step("k2", SetRange, "k21", "v21")
	step("k20", SetKey, "", "")
	step("", Prev, "k19", "v19")
	txn.Reset()
	_, _, err = c.Get(nil, nil, First)
	wantErrno(t, "cursor of a reset transaction", err, BadTxn)
	must(t, txn.Renew())
	_, _, err = c.Get(nil, nil, First)
	wantErrno(t, "cursor that wasn't renewed", err, syscall.EINVAL)
	must(t, c.Renew(txn))
	step("", First, "k00", "v0")
	txn.Abort()
	_, _, err = c.Get(nil, nil, First)
	wantErrno(t, "cursor of an ended transaction", err, BadTxn)
	c.Close()
	c.Close()
}

// TestEndedHandles: what would crash in C is an error here.
func TestEndedHandles(t *testing.T) {
	env, dbi := testEnv(t)
	var txn *Txn
	var cur *Cursor
	must(t, env.Update(func(x *Txn) (err error) {
		txn = x
		cur, err = x.OpenCursor(dbi)
		return err
	}))
	_, getErr := txn.Get(dbi, []byte("a"))
	_, statErr := txn.Stat(dbi)
	_, openErr := txn.OpenRoot(0)
	_, cursorErr := txn.OpenCursor(dbi)
	_, reserveErr := txn.PutReserve(dbi, []byte("a"), 1, 0)
	for what, err := range map[string]error{
		"get": getErr, "stat": statErr, "open": openErr, "cursor": cursorErr, "reserve": reserveErr,
		"put": txn.Put(dbi, []byte("a"), nil, 0), "del": txn.Del(dbi, []byte("a"), nil), "commit": txn.Commit(), "drop": txn.Drop(dbi, false),
	} {
		wantErrno(t, what, err, BadTxn)
	}
	txn.Abort()
	txn.Reset()
	if txn.ID() != 0 || txn.Renew() == nil {
		t.Error("an ended transaction lives")
	}
	wantErrno(t, "cursor put", cur.Put([]byte("a"), nil, 0), syscall.EINVAL)
	wantErrno(t, "cursor del", cur.Del(0), syscall.EINVAL)
	wantErrno(t, "scan", cur.Scan(new(Pairs), FromFirst, nil, 1), syscall.EINVAL)
	wantErrno(t, "apply", cur.Apply(new(Batch)), syscall.EINVAL)
	cur.Close()
}

func TestClosedEnv(t *testing.T) {
	env := newEnv(t, t.TempDir(), 1<<20)
	txn, err := env.BeginTxn(nil, Readonly)
	must(t, err)
	wantErrno(t, "close under a transaction", env.Close(), syscall.EBUSY)
	wantErrno(t, "resize under a transaction", env.SetMapSize(1<<21), syscall.EBUSY)
	txn.Reset()
	must(t, env.SetMapSize(1<<21))
	wantErrno(t, "close with a reset transaction", env.Close(), syscall.EBUSY)
	must(t, txn.Renew())
	txn.Abort()
	if info, err := env.Info(); err != nil || info.MapSize != 1<<21 {
		t.Errorf("info %+v, %v", info, err)
	}
	must(t, env.Close())
	_, infoErr := env.Info()
	_, statErr := env.Stat()
	_, checkErr := env.ReaderCheck()
	_, fdErr := env.FD()
	_, pathErr := env.Path()
	_, maxErr := env.MaxReaders()
	for what, err := range map[string]error{
		"info": infoErr, "stat": statErr, "reader check": checkErr, "fd": fdErr, "path": pathErr, "max readers": maxErr,
		"view": env.View(func(*Txn) error { return nil }), "update": env.Update(func(*Txn) error { return nil }),
		"sync": env.Sync(true), "close": env.Close(), "resize": env.SetMapSize(1 << 22), "copy": env.CopyFD(2),
		"copy to path": env.Copy("/nowhere"), "max dbs": env.SetMaxDBs(1), "open": env.Open("/nowhere", 0, 0),
	} {
		wantErrno(t, what, err, syscall.EINVAL)
	}
	if env.MaxKeySize() != 0 {
		t.Error("a closed environment has keys")
	}
}

func TestOneEnvPerDirectory(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	env := newEnv(t, dir, 1<<20)
	for _, path := range []string{dir, link, dir + "/."} {
		second, err := NewEnv()
		must(t, err)
		wantErrno(t, "second open by "+path, second.Open(path, 0, 0o600), syscall.EBUSY)
		must(t, second.Close())
	}
	must(t, env.Close())
	again := newEnv(t, link, 1<<20)
	must(t, again.Close())
}

func TestOpenOfNothing(t *testing.T) {
	env, err := NewEnv()
	must(t, err)
	if err := env.Open(filepath.Join(t.TempDir(), "absent"), 0, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	must(t, env.Close())
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "data.mdb"), bytes.Repeat([]byte("x"), 20000), 0o600))
	env, err = NewEnv()
	must(t, err)
	wantErrno(t, "open of a text file", env.Open(dir, 0, 0o600), Invalid)
	wantErrno(t, "close after a failed open", env.Close(), syscall.EINVAL)
	// The failed open gave the directory back.
	must(t, os.Remove(filepath.Join(dir, "data.mdb")))
	must(t, newEnv(t, dir, 1<<20).Close())
}

func TestMapFullAndGrow(t *testing.T) {
	env := newEnv(t, t.TempDir(), 1<<16)
	dbi := root(t, env)
	fill := func(txn *Txn) error { return txn.Put(dbi, []byte("a"), make([]byte, 1<<17), 0) }
	if err := env.Update(fill); !IsMapFull(err) {
		t.Fatalf("update: %v", err)
	}
	must(t, env.SetMapSize(1<<20))
	must(t, env.Update(fill))
	must(t, env.Close())
}

func TestReadersFull(t *testing.T) {
	env := newEnv(t, t.TempDir(), 1<<20)
	var txns []*Txn
	for {
		txn, err := env.BeginTxn(nil, Readonly)
		if IsErrno(err, ReadersFull) {
			break
		}
		must(t, err)
		txns = append(txns, txn)
	}
	if n, err := env.MaxReaders(); err != nil || n != len(txns) {
		t.Errorf("%d readers of %d, %v", len(txns), n, err)
	}
	for _, txn := range txns {
		txn.Abort()
	}
	must(t, env.Close())
}

func TestWriteTxnOnAnotherThread(t *testing.T) {
	env, dbi := testEnv(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	txn, err := env.BeginTxn(nil, 0)
	must(t, err)
	must(t, txn.Put(dbi, []byte("a"), nil, 0))
	panicked := make(chan any)
	go func() {
		runtime.LockOSThread()
		defer func() { panicked <- recover() }()
		_ = txn.Commit() // panics
	}()
	if p := <-panicked; p == nil || !strings.Contains(fmt.Sprint(p), "LockOSThread") {
		t.Errorf("commit on another thread: %v", p)
	}
	must(t, txn.Commit())
	must(t, env.Update(func(txn *Txn) error { return txn.Put(dbi, []byte("b"), nil, 0) }))
}

func TestNestedIsRefused(t *testing.T) {
	env, dbi := testEnv(t)
	must(t, env.Update(func(txn *Txn) error {
		_, err := env.BeginTxn(txn, 0)
		wantErrno(t, "nested", err, syscall.ENOTSUP)
		wantErrno(t, "del with a value", txn.Del(dbi, []byte("a"), []byte("b")), syscall.ENOTSUP)
		return nil
	}))
}

func TestNamedDatabases(t *testing.T) {
	dir := t.TempDir()
	env, err := NewEnv()
	must(t, err)
	must(t, env.SetMaxDBs(2))
	must(t, env.Open(dir, 0, 0o600))
	must(t, env.Update(func(txn *Txn) error {
		_, err := txn.OpenDBI("absent", 0)
		wantErrno(t, "open", err, NotFound)
		dbi, err := txn.OpenDBI("one", Create)
		must(t, err)
		must(t, txn.Put(dbi, []byte("a"), nil, 0))
		must(t, txn.Drop(dbi, false))
		st, err := txn.Stat(dbi)
		if err != nil || st.Entries != 0 {
			t.Errorf("after drop: %+v, %v", st, err)
		}
		return nil
	}))
	if path, err := env.Path(); err != nil || path != dir {
		t.Errorf("path %q, %v", path, err)
	}
	if fd, err := env.FD(); err != nil || fd == 0 {
		t.Errorf("fd %d, %v", fd, err)
	}
	if n := env.MaxKeySize(); n != 511 {
		t.Errorf("keys of %d bytes", n)
	}
	must(t, env.Sync(true))
	must(t, env.Close())
}

func TestCopies(t *testing.T) {
	env, dbi := testEnv(t)
	must(t, env.Update(func(txn *Txn) error { return txn.Put(dbi, []byte("a"), []byte("1"), 0) }))
	byPath, byFD := t.TempDir(), t.TempDir()
	must(t, env.CopyFlag(byPath, CopyCompact))
	f, err := os.Create(filepath.Join(byFD, "data.mdb"))
	must(t, err)
	must(t, env.CopyFDFlag(f.Fd(), CopyCompact))
	must(t, f.Close())
	for _, dir := range []string{byPath, byFD} {
		copied := newEnv(t, dir, 1<<20)
		must(t, copied.View(func(txn *Txn) error {
			v, err := txn.Get(root(t, copied), []byte("a"))
			if string(v) != "1" {
				t.Errorf("copy has %q", v)
			}
			return err
		}))
		must(t, copied.Close())
	}
}

func TestGetTo(t *testing.T) {
	env, dbi := testEnv(t)
	must(t, env.Update(func(txn *Txn) error { return txn.Put(dbi, []byte("a"), []byte("12345"), 0) }))
	must(t, env.View(func(txn *Txn) error {
		for _, room := range []int{0, 4, 5, 100} {
			buf := make([]byte, room)
			n, err := txn.GetTo(dbi, []byte("a"), buf)
			if err != nil || n != 5 || room >= 5 && string(buf[:5]) != "12345" || room < 5 && !bytes.Equal(buf, make([]byte, room)) {
				t.Errorf("room %d: %d, %q, %v", room, n, buf, err)
			}
		}
		_, err := txn.GetTo(dbi, []byte("b"), nil)
		wantErrno(t, "absent", err, NotFound)
		return nil
	}))
}

func TestApply(t *testing.T) {
	env, dbi := testEnv(t)
	long := strings.Repeat("x", 9000)
	must(t, env.Update(func(txn *Txn) error {
		for _, k := range []string{"b", "d", "f"} {
			must(t, txn.Put(dbi, []byte(k), []byte("old "+k+long), 0))
		}
		c, err := txn.OpenCursor(dbi)
		must(t, err)
		var b Batch
		b.Put([]byte("a"), []byte("new"))
		b.Put([]byte("b"), nil)
		b.Delete([]byte("c"))
		b.Delete([]byte("d"))
		must(t, c.Apply(&b))
		for i, want := range []string{"", "old b" + long, "", "old d" + long} {
			head, n := b.Old(i)
			if n != len(want) || (head == nil) != (want == "") || string(head) != want[:min(len(want), HeadLen)] {
				t.Errorf("old %d: %q, %d", i, head, n)
			}
		}
		b.Reset()
		b.Put([]byte("x"), []byte("behind all"))
		b.Delete([]byte("y"))
		b.Put([]byte("z"), nil)
		if b.Len() != 3 || b.Size() != 13 {
			t.Errorf("batch of %d edits, %d bytes", b.Len(), b.Size())
		}
		must(t, c.Apply(&b))
		b.Reset()
		b.Put(make([]byte, 600), nil)
		wantErrno(t, "long key", c.Apply(&b), BadValSize)
		return nil
	}))
	must(t, env.View(func(txn *Txn) error {
		for k, want := range map[string]string{"a": "new", "b": "", "f": "old f" + long, "x": "behind all", "z": ""} {
			if v, err := txn.Get(dbi, []byte(k)); err != nil || string(v) != want {
				t.Errorf("%s: %.20q, %v", k, v, err)
			}
		}
		st, err := txn.Stat(dbi)
		if err != nil || st.Entries != 5 {
			t.Errorf("stat %+v, %v", st, err)
		}
		return nil
	}))
}

func TestScan(t *testing.T) {
	env, dbi := testEnv(t)
	const n = 1000
	size := func(i int) int { return i * 7 % 300 }
	big := strings.Repeat("b", 1<<20)
	must(t, env.Update(func(txn *Txn) error {
		for i := range n {
			must(t, txn.Put(dbi, fmt.Appendf(nil, "k%04d", i), bytes.Repeat([]byte{byte(i)}, size(i)), 0))
		}
		return txn.Put(dbi, []byte("k0500x"), []byte(big), 0)
	}))
	must(t, env.View(func(txn *Txn) error {
		c, err := txn.OpenCursor(dbi)
		must(t, err)
		defer c.Close()
		for _, limit := range []int{1, 7, 256, 5000} {
			var p Pairs
			walk := func(begin, on Begin, key string) (keys []string) {
				for {
					must(t, c.Scan(&p, begin, []byte(key), limit))
					for i := range p.Len() {
						k, v := p.Pair(i)
						if string(k) != "k0500x" && (len(v) > 0 && v[0] != v[len(v)-1]) || string(k) == "k0500x" && string(v) != big {
							t.Fatalf("value of %s", k)
						}
						keys = append(keys, string(k))
					}
					if p.End() {
						return keys
					}
					if p.Len() == 0 {
						t.Fatal("an empty batch that isn't the end")
					}
					begin = on
				}
			}
			for what, c := range map[string]struct {
				got         []string
				n           int
				first, last string
			}{
				"first":       {walk(FromFirst, Onward, ""), n + 1, "k0000", "k0999"},
				"last":        {walk(FromLast, Backward, ""), n + 1, "k0999", "k0000"},
				"at or after": {walk(AtOrAfter, Onward, "k0500"), n/2 + 1, "k0500", "k0999"},
				"after":       {walk(After, Onward, "k0500"), n / 2, "k0500x", "k0999"},
				"before":      {walk(Before, Backward, "k0501"), n/2 + 2, "k0500x", "k0000"},
				"before end":  {walk(Before, Backward, "z"), n + 1, "k0999", "k0000"},
				"after end":   {walk(After, Onward, "k0999"), 0, "", ""},
				"before all":  {walk(Before, Backward, "a"), 0, "", ""},
			} {
				if len(c.got) != c.n || c.n > 0 && (c.got[0] != c.first || c.got[c.n-1] != c.last) {
					t.Errorf("limit %d, %s: %d keys", limit, what, len(c.got))
				}
			}
			p.Reset()
		}
		return nil
	}))
}

// TestStress reads and writes from many goroutines with everything this binding
// has; run it with -race and GOEXPERIMENT=cgocheck2.
func TestStress(t *testing.T) {
	env, dbi := testEnv(t)
	must(t, env.Update(func(txn *Txn) error {
		for i := range 1000 {
			must(t, txn.Put(dbi, fmt.Appendf(nil, "k%04d", i), bytes.Repeat([]byte{1}, i), 0))
		}
		return nil
	}))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			txn, err := env.BeginTxn(nil, Readonly)
			if err != nil {
				t.Error(err)
				return
			}
			defer txn.Abort()
			var p Pairs
			for i := range 300 {
				if g < 4 && i%10 == 0 {
					runtime.GC()
				}
				txn.RawRead = i%2 == 0
				v, err := txn.Get(dbi, fmt.Appendf(nil, "k%04d", i))
				if err != nil || len(v) != i {
					t.Errorf("get: %d bytes, %v", len(v), err)
				}
				c, err := txn.OpenCursor(dbi)
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Scan(&p, AtOrAfter, fmt.Appendf(nil, "k%04d", i), 50); err != nil || p.Len() == 0 || p.Len() > 50 {
					t.Errorf("scan: %d, %v", p.Len(), err)
				}
				c.Close()
				txn.Reset()
				if err := txn.Renew(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range 20 {
		must(t, env.Update(func(txn *Txn) error {
			c, err := txn.OpenCursor(dbi)
			must(t, err)
			var b Batch
			for i := range 1000 {
				b.Put(fmt.Appendf(nil, "k%04d", i), bytes.Repeat([]byte{byte(round)}, i))
			}
			return c.Apply(&b)
		}))
	}
	wg.Wait()
}
