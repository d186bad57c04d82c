package delivery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

const lettersPath = "/n/web/dead-letters.jsonl"

func openLetters(t testing.TB, fsys vfs.FS) *DeadLetters {
	t.Helper()
	d, err := OpenDeadLetters(DeadLetterOptions{Name: "web", Path: lettersPath, FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// letterOf is the refusal of a put of a key.
func letterOf(lsn uint64, key string) letter {
	now := time.Unix(1_800_000_000, 0)
	return letter{
		namespace: "orders", lineage: dbkernel.Lineage{1}.String(), reason: "no", refusals: 3, first: now, last: now,
		event: &pluginv1.Event{Key: []byte(key), Operation: pluginv1.Operation_OPERATION_PUT, EntryType: "kv", Lsn: lsn, Epoch: 7, Count: 1, TimeUnixNano: 5},
	}
}

func addLetters(t testing.TB, d *DeadLetters, letters ...letter) {
	t.Helper()
	if _, err := d.add(letters); err != nil {
		t.Fatal(err)
	}
}

// listed is what the file has, one word a letter.
func listed(t testing.TB, d *DeadLetters) (words []string) {
	t.Helper()
	letters, err := d.read()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		words = append(words, fmt.Sprintf("%d %s@%d", l.id, l.event.Key, l.event.Lsn))
	}
	return words
}

func fileOf(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	b, err := readFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDeadLetters(t *testing.T) {
	disk := vfs.NewMem()
	d := openLetters(t, disk)
	row := letterOf(6, "r\xff")
	row.event.EntryType, row.event.Columns, row.event.Count, row.event.Index = "row", []string{"<a>", "b\n"}, 9, 4
	addLetters(t, d, letterOf(5, "a"), row)
	addLetters(t, d, letterOf(5, "a"), letterOf(7, "b")) // the first came again
	want := []string{"1 a@5", "2 r\xff@6", "3 b@7"}
	equal(t, listed(t, d), want...)

	d = openLetters(t, disk)
	equal(t, listed(t, d), want...)
	letters, err := d.read()
	if err != nil {
		t.Fatal(err)
	}
	if got := letters[1]; got.event.String() != row.event.String() || got.reason != "no" || got.refusals != 3 || !got.first.Equal(row.first) {
		t.Errorf("it came back as %+v", got)
	}
	all, err := d.List()
	if err != nil || len(all) != 3 || !strings.Contains(string(all[0].Event), `"key":"a"`) || all[2].ID != "3" || all[0].Namespace != "orders" {
		t.Errorf("listed %+v, %v", all, err)
	}
	if d.count("orders") != 3 || d.count("other") != 0 {
		t.Errorf("%d and %d letters", d.count("orders"), d.count("other"))
	}
}

// Events of a snapshot have neither an index nor an LSN of their own.
func TestDeadLettersOfASnapshot(t *testing.T) {
	d := openLetters(t, vfs.NewMem())
	a, b := letterOf(5, "a"), letterOf(5, "b")
	a.event.Count, b.event.Count = 0, 0
	addLetters(t, d, a, b, a)
	equal(t, listed(t, d), "1 a@5", "2 b@5")
}

func TestRetry(t *testing.T) {
	disk := vfs.NewMem()
	d := openLetters(t, disk)
	addLetters(t, d, letterOf(9, "late"), letterOf(5, "a"), letterOf(6, "bad"), letterOf(7, "bad"))
	ctx := context.Background()
	r := newReceiver()
	if _, _, err := d.Retry(ctx, r, "2", "17"); !errors.Is(err, ErrDeadLetterNotFound) || r.calls != 0 {
		t.Errorf("%d calls, %v", r.calls, err)
	}
	r.answers(rejecting(pluginv1.Rejection_CAUSE_REFUSED, "bad"))
	accepted, left, err := d.Retry(ctx, r)
	if accepted != 2 || left != 2 || err != nil {
		t.Errorf("%d accepted, %d left, %v", accepted, left, err)
	}
	equal(t, r.got(), "put a", "put late")
	equal(t, listed(t, d), "3 bad@6", "4 bad@7")
	if letters, _ := d.read(); letters[0].refusals != 4 || letters[1].refusals != 3 {
		t.Errorf("refusals %d and %d", letters[0].refusals, letters[1].refusals)
	}
	r.answers(func(*pluginv1.NotifyRequest) (*pluginv1.NotifyResponse, error) {
		return nil, errors.New("nobody there")
	})
	if accepted, left, err := d.Retry(ctx, r, "3"); accepted != 0 || left != 1 || err == nil {
		t.Errorf("%d accepted, %d left, %v", accepted, left, err)
	}
	r.answers(nil)
	if accepted, left, err := d.Retry(ctx, r, "4", "3", "4"); accepted != 2 || left != 0 || err != nil {
		t.Errorf("%d accepted, %d left, %v", accepted, left, err)
	}
	equal(t, r.got()[2:], "put bad", "put bad")

	// No id is used twice, after a restart either.
	d = openLetters(t, disk)
	addLetters(t, d, letterOf(10, "c"))
	equal(t, listed(t, d), "5 c@10")
}

func TestDeadLettersAreBounded(t *testing.T) {
	for _, o := range []DeadLetterOptions{{MaxCount: 3}, {MaxBytes: 1100}} {
		o.Name, o.Path, o.FS = "web", lettersPath, vfs.NewMem()
		d, err := OpenDeadLetters(o)
		if err != nil {
			t.Fatal(err)
		}
		letters := []letter{letterOf(1, "a"), letterOf(2, "b"), letterOf(3, "c"), letterOf(4, "d"), letterOf(5, "e")}
		room, err := d.add(letters)
		if !errors.Is(err, ErrDeadLettersFull) || len(listed(t, d)) != 3 {
			t.Fatalf("%q, %v", listed(t, d), err)
		}
		if size := len(fileOf(t, o.FS, lettersPath)); o.MaxBytes > 0 && int64(size) > o.MaxBytes {
			t.Errorf("the file has %d bytes", size)
		}
		select {
		case <-room:
			t.Error("there is room")
		default:
		}
		if _, _, err := d.Retry(context.Background(), newReceiver(), "2"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-room:
		default:
			t.Error("nobody was told that there is room")
		}
		// Where somebody moves the file away, a new one begins, with ids of its own.
		if err := o.FS.Rename(lettersPath, "/n/web/kept"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.add(letters[3:]); err != nil {
			t.Fatal(err)
		}
		equal(t, listed(t, d), "4 d@4", "5 e@5")
	}
}

func TestDamagedDeadLetters(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"a torn end":          func(b []byte) []byte { return append(b, `{"id":"4","reason":"x`...) },
		"a torn end of zeros": func(b []byte) []byte { return append(b, make([]byte, 5000)...) },
		"a flipped bit":       func(b []byte) []byte { b[slices.Index(b, '@')] ^= 1; return b },
		"a flipped header":    func(b []byte) []byte { b[4] ^= 1; return b },
		"no header":           func(b []byte) []byte { return b[:10] },
	} {
		disk := vfs.NewMem()
		d := openLetters(t, disk)
		addLetters(t, d, letterOf(1, "a"), letterOf(2, "@"), letterOf(3, "c"))
		if err := replaceFile(disk, lettersPath, damage(fileOf(t, disk, lettersPath))); err != nil {
			t.Fatal(err)
		}
		d = openLetters(t, disk)
		want, aside := []string{"1 a@1", "2 @@2", "3 c@3"}, 2
		switch name {
		case "a torn end", "a torn end of zeros":
			aside = 1
		case "a flipped bit":
			want = slices.Delete(want, 1, 2)
		case "no header":
			want = nil
		}
		if equal(t, listed(t, d), want...); t.Failed() {
			t.Fatal(name)
		}
		if names, err := disk.List("/n/web"); err != nil || len(names) != aside {
			t.Errorf("%s: files %q, %v", name, names, err)
		}
		addLetters(t, d, letterOf(9, "z"))
		if got := listed(t, openLetters(t, disk)); !strings.HasSuffix(got[len(got)-1], "z@9") || len(got) != len(want)+1 {
			t.Errorf("%s: then %q", name, got)
		}
	}
}

func TestDeadLettersOfANewerFormat(t *testing.T) {
	disk := vfs.NewMem()
	if err := makeDir(disk, "/n/web"); err != nil {
		t.Fatal(err)
	}
	line, err := encodeLine(headerJSON{lettersMagic, lettersFormat + 1, 1})
	if err == nil {
		err = replaceFile(disk, lettersPath, line)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenDeadLetters(DeadLetterOptions{Name: "web", Path: lettersPath, FS: disk})
	if !errors.Is(err, dbkernel.ErrNewerFormat) {
		t.Errorf("%v", err)
	}
}

// Whatever operation the power goes at, what add said is durable is there, and what
// was retried isn't.
func TestDeadLettersSurviveAnyCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for k := 1; ; k++ {
		disk := vfs.NewMem()
		d := openLetters(t, vfs.WithFaults(disk, vfs.CrashAfter(k)))
		var there, gone []string
		crashed := false
		for i := uint64(1); i < 6 && !crashed; i++ {
			if _, err := d.add([]letter{letterOf(2*i, "x"), letterOf(2*i+1, "y")}); err != nil {
				crashed = true
				break
			}
			there = append(there, fmt.Sprintf("%d x@%d", 2*i-1, 2*i), fmt.Sprintf("%d y@%d", 2*i, 2*i+1))
			if i%2 == 0 {
				n, _, err := d.Retry(context.Background(), newReceiver(), fmt.Sprint(2*i))
				if err != nil {
					crashed = true
				} else if n == 1 {
					gone, there = append(gone, there[len(there)-1]), there[:len(there)-1]
				}
				if crashed { // it may be there or not
					there = there[:len(there)-1]
				}
			}
		}
		for range 3 {
			got := listed(t, openLetters(t, disk.Crash(rng, vfs.AnyCrash(rng))))
			for _, w := range there {
				if !slices.Contains(got, w) {
					t.Fatalf("crash after %d operations: %q is missing in %q", k, w, got)
				}
			}
			for _, w := range gone {
				if slices.Contains(got, w) {
					t.Fatalf("crash after %d operations: %q is back in %q", k, w, got)
				}
			}
		}
		if !crashed {
			return
		}
	}
}

// A failed write is followed by a file that holds all that counts.
func TestDeadLettersAfterAFailedWrite(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		disk := vfs.NewMem()
		d := openLetters(t, disk)
		addLetters(t, d, letterOf(1, "a"))
		d.opts.FS = vfs.WithFaults(disk, vfs.FailNth(kind, 1, errors.New("broken")))
		if _, err := d.add([]letter{letterOf(2, "b")}); err == nil {
			t.Fatalf("%v: expected an error", kind)
		}
		addLetters(t, d, letterOf(3, "c"))
		equal(t, listed(t, openLetters(t, disk.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{}))), "1 a@1", "2 c@3")
	}
}

func TestFileCursor(t *testing.T) {
	ctx := context.Background()
	c := Cursor{
		Lineage: dbkernel.Lineage{1, 2}, Epoch: 1 << 52, Bits: 1<<63 + 1, LSN: 17, Changes: 3, Seen: Record{5, 6, 19}, Snapshot: &SnapshotCursor{From: []byte{0xff}},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for k := 1; ; k++ {
		disk := vfs.NewMem()
		s := FileCursor(vfs.WithFaults(disk, vfs.CrashAfter(k)), "/n/web/orders.json")
		saved, crashed := uint64(0), false
		for lsn := uint64(17); lsn < 20 && !crashed; lsn++ {
			c.LSN = lsn
			if crashed = s.Save(ctx, c) != nil; !crashed {
				saved = lsn
			}
		}
		got, there, err := FileCursor(disk.Crash(rng, vfs.AnyCrash(rng)), "/n/web/orders.json").Load(ctx)
		if err != nil || got.LSN < saved || there != (got.LSN > 0) || there && (got.Seen != c.Seen || string(got.Snapshot.From) != "\xff" || got.Bits != c.Bits) {
			t.Fatalf("crash after %d operations: %+v, %v, %v; LSN %d was saved", k, got, there, err, saved)
		}
		if !crashed {
			break
		}
	}

	disk := vfs.NewMem()
	s := FileCursor(disk, "/n/web/orders.json")
	if err := s.Save(ctx, c); err != nil {
		t.Fatal(err)
	}
	b := fileOf(t, disk, "/n/web/orders.json")
	for i := range len(b) - 1 {
		flipped := slices.Clone(b)
		flipped[i] ^= 1
		if err := replaceFile(disk, "/n/web/orders.json", flipped); err != nil {
			t.Fatal(err)
		}
		if got, _, err := s.Load(ctx); !errors.Is(err, errDamaged) && !errors.Is(err, dbkernel.ErrNewerFormat) {
			t.Fatalf("byte %d flipped: %+v, %v", i, got, err)
		}
	}
}

func TestPathsOfNotifiers(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"web", "orders/web", "..", ".", ".hidden", "%2E", "%2E.", "a b", "ü"} {
		path := CursorPath("/d", name, "ns")
		if other, taken := seen[path]; taken || !strings.HasPrefix(path, "/d/") || strings.Count(path, "/") != 3 || !fs.ValidPath(path[1:]) {
			t.Errorf("%q lies at %q, as %q", name, path, other)
		}
		seen[path] = name
	}
}
