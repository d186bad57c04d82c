package topology

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

func openTestLog(t *testing.T, name string) *diskLog {
	t.Helper()
	d, err := openDiskLog(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func someEntry(i uint64) *raft.Log {
	l := &raft.Log{Index: i, Term: i / 3, Type: raft.LogType(i % 6), Data: bytes.Repeat([]byte{byte(i)}, int(i%50))}
	if i%2 == 0 {
		l.AppendedAt = time.Unix(int64(i), 7)
		l.Extensions = []byte(fmt.Sprint("extension ", i))
	}
	return l
}

// TestDiskLog: what was written is there, also after it was opened again.
func TestDiskLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), logName)
	d, err := openDiskLog(name)
	if err != nil {
		t.Fatal(err)
	}
	ends := func(d *diskLog, first, last uint64) {
		t.Helper()
		a, err := d.FirstIndex()
		b, err2 := d.LastIndex()
		if a != first || b != last || err != nil || err2 != nil {
			t.Errorf("from %d to %d (%v, %v), want %d to %d", a, b, err, err2, first, last)
		}
	}
	ends(d, 0, 0)
	var l raft.Log
	if err := d.GetLog(1, &l); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("an absent entry: %v", err)
	}
	if _, err := d.Get([]byte("k")); err == nil || err.Error() != "not found" { // Raft compares the words
		t.Errorf("an absent value: %v", err)
	}
	var all []*raft.Log
	for i := uint64(1); i <= 300; i++ {
		all = append(all, someEntry(i))
	}
	for i := 0; i < len(all); i += 7 {
		if err := d.StoreLogs(all[i:min(i+7, len(all))]); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range [][2]uint64{{1, 40}, {290, 300}, {500, 600}} {
		if err := d.DeleteRange(r[0], r[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.Set([]byte("k"), []byte("value")), d.SetUint64([]byte("n"), 1<<40), d.Set([]byte("e"), nil)); err != nil {
		t.Fatal(err)
	}
	if err := d.StoreLog(&raft.Log{Index: 100, Term: 99, Data: []byte("another one")}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	d = openTestLog(t, name)
	ends(d, 41, 289)
	for i := uint64(41); i < 290; i++ {
		want := *someEntry(i)
		if want.Data == nil {
			want.Data = []byte{}
		}
		if i == 100 {
			want = raft.Log{Index: 100, Term: 99, Data: []byte("another one")}
		}
		if err := d.GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, l); diff != "" {
			t.Fatalf("entry %d:\n%s", i, diff)
		}
	}
	if b, err := d.Get([]byte("k")); err != nil || string(b) != "value" {
		t.Errorf("%q, %v", b, err)
	}
	if n, err := d.GetUint64([]byte("n")); err != nil || n != 1<<40 {
		t.Errorf("%d, %v", n, err)
	}
	if b, err := d.Get([]byte("e")); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// TestDiskLogDamage: what isn't as it was written is told from what isn't there, and never handed out.
func TestDiskLogDamage(t *testing.T) {
	d := openTestLog(t, filepath.Join(t.TempDir(), logName))
	if err := errors.Join(d.StoreLog(someEntry(8)), d.Set([]byte("k"), []byte("value"))); err != nil {
		t.Fatal(err)
	}
	raw := func(bucket, key []byte) []byte {
		var b []byte
		err := d.db.View(func(tx *bbolt.Tx) error { b = bytes.Clone(tx.Bucket(bucket).Get(key)); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	put := func(bucket, key, b []byte) {
		if err := d.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, b) }); err != nil {
			t.Fatal(err)
		}
	}
	whole := raw(bucketLog, indexKey(8))
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		put(bucketLog, indexKey(8), b)
		var l raft.Log
		if err := d.GetLog(8, &l); !errors.Is(err, errDamaged) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	put(bucketLog, indexKey(9), whole) // at another place
	var l raft.Log
	if err := d.GetLog(9, &l); !errors.Is(err, errDamaged) {
		t.Errorf("an entry at another's place: %v", err)
	}
	newer := encodeEntry(someEntry(8))
	newer[0] = 9
	put(bucketLog, indexKey(8), sealed(indexKey(8), newer))
	if err := d.GetLog(8, &l); CodeOf(err) != CodeNewerFormat {
		t.Errorf("a newer entry: %v", err)
	}
	for n := range len(encodeEntry(someEntry(2))) { // cut, with the right checksum: never a panic
		put(bucketLog, indexKey(2), sealed(indexKey(2), encodeEntry(someEntry(2))[:n]))
		_ = d.GetLog(2, &l)
	}
	value := raw(bucketStable, []byte("k"))
	value[5] ^= 1
	put(bucketStable, []byte("k"), value)
	if _, err := d.Get([]byte("k")); !errors.Is(err, errDamaged) || isNotFound(err) {
		t.Errorf("a value: %v", err)
	}
}

// TestDiskLogTornWrite: bbolt writes its data pages, syncs, writes a meta page, syncs. At a crash before the last of
// these any of the data pages may be there or not: the log is as before. With a torn meta page it is, too.
func TestDiskLogTornWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, logName)
	d, err := openDiskLog(name)
	if err != nil {
		t.Fatal(err)
	}
	step := func(i uint64) []byte {
		t.Helper()
		if i%5 == 4 {
			err = d.DeleteRange(i-4, i-3)
		} else {
			err = d.StoreLogs([]*raft.Log{someEntry(i), someEntry(i + 1), {Index: i + 2, Data: bytes.Repeat([]byte{1}, int(i)*97%9000)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := rand.New(rand.NewPCG(1, 2))
	before := step(1)
	var steps [][2][]byte
	for i := uint64(2); i < 40; i++ {
		after := step(i)
		steps = append(steps, [2][]byte{before, after})
		before = after
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for n, s := range steps {
		want := dump(t, filepath.Join(dir, "want"), s[0])
		for range 3 {
			torn := bytes.Clone(s[0])
			torn = append(torn, make([]byte, len(s[1])-len(s[0]))...) // it may have grown
			for at := 2 * page; at < len(torn); at += page {
				if r.IntN(2) == 0 {
					copy(torn[at:min(at+page, len(torn))], s[1][at:])
				}
			}
			for meta := range 2 { // the one that was being written: some of its bytes
				old, now := torn[meta*page:(meta+1)*page], s[1][meta*page:(meta+1)*page]
				if !bytes.Equal(old, now) {
					// Of its 64 bytes after the page's head all but the checksum may have come.
					copy(old[:16+r.IntN(64-8)], now)
				}
			}
			if got := dump(t, filepath.Join(dir, "torn"), torn); got != want {
				t.Fatalf("step %d: after a crash the log isn't as before:\n%s\n%s", n, got, want)
			}
		}
	}
}

// dump is what a log of these bytes holds.
func dump(t *testing.T, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDiskLog(name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // it was read
	first, err := d.FirstIndex()
	last, err2 := d.LastIndex()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i := first; i <= last; i++ {
		var l raft.Log
		err := d.GetLog(i, &l)
		fmt.Fprintf(&out, "%d %d %x %v\n", i, l.Term, crcOf(nil, l.Data), err)
	}
	return out.String()
}

// TestDiskLogKilled: a process that writes is killed: what it had said to be written is there, whole and
// without gaps.
func TestDiskLogKilled(t *testing.T) {
	const env = "TOPOLOGY_DISKLOG"
	if name := os.Getenv(env); name != "" {
		writeUntilKilled(name)
		return
	}
	name := filepath.Join(t.TempDir(), logName)
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskLogKilled$")
		cmd.Env = append(os.Environ(), env+"="+name)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := uint64(0)
		lines := bufio.NewScanner(out)
		for n := 0; n < 30+20*round && lines.Scan(); n++ {
			if said, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it had said before it was killed
			if n, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				said = n
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		if said == 0 {
			t.Fatal("it has written nothing")
		}
		checkKilled(t, name, said)
	}
}

// writeUntilKilled writes batches, trims what is old, and says each last index when it is written.
func writeUntilKilled(name string) {
	d, err := openDiskLog(name)
	if err != nil {
		panic(err)
	}
	last, err := d.LastIndex()
	for err == nil {
		var batch []*raft.Log
		for range 1 + last%5 {
			last++
			batch = append(batch, someEntry(last))
		}
		if err = d.StoreLogs(batch); err == nil {
			err = d.SetUint64([]byte("last"), last)
		}
		if last%50 == 0 && err == nil {
			err = d.DeleteRange(1, last-30)
		}
		fmt.Println(last)
	}
	panic(err)
}

func checkKilled(t *testing.T, name string, said uint64) {
	t.Helper()
	d, err := openDiskLog(name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // it was read
	first, err := d.FirstIndex()
	last, err2 := d.LastIndex()
	if err != nil || err2 != nil || last < said {
		t.Fatalf("it had written %d, and %d is the last: %v, %v", said, last, err, err2)
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := d.GetLog(i, &l); err != nil || l.Term != someEntry(i).Term {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	if n, err := d.GetUint64([]byte("last")); err != nil || n < said {
		t.Errorf("the value is %d, %v", n, err)
	}
}

// FuzzEntry: no bytes make decoding panic, and what decodes is written again as it was.
func FuzzEntry(f *testing.F) {
	for i := range uint64(8) {
		f.Add(encodeEntry(someEntry(i)))
	}
	f.Add(binary.AppendUvarint([]byte{entryVersion, 0}, 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		if decodeEntry(1, b, &l) != nil {
			return
		}
		var again raft.Log
		if err := decodeEntry(1, encodeEntry(&l), &again); err != nil || !cmp.Equal(l, again) {
			t.Errorf("%+v, %+v, %v", l, again, err)
		}
	})
}
