package dbkernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// These are bugs that the adversarial tests of this package have found, each
// with the smallest test that fails on the old code.

// A scan of rows whose prefix ends in zeros found rows that don't have it: the
// zeros look like the padding of a shorter row key.
func TestRowPrefixThatEndsInZeros(t *testing.T) {
	n := newTestNS(t)
	rows := []string{"a", "a\x00", "a\x00\x00", "a\x00b", "a\x01", "12345678", "12345678\x00"}
	for _, row := range rows {
		writeEdits(t, n, edit{kind: editPutColumn, key: row, column: "c", value: []byte("v")})
	}
	inBothPlaces(t, n, func(t *testing.T) {
		for prefix, want := range map[string]int{
			"a": 5, "a\x00": 3, "a\x00\x00": 1, "a\x00\x00\x00": 0, "12345678": 2, "12345678\x00": 1, "12345678\x00\x00": 0,
		} {
			for _, reverse := range []bool{false, true} {
				v, err := n.View()
				if err != nil {
					t.Fatal(err)
				}
				page, err := v.ScanRows(Scan{Prefix: []byte(prefix), Reverse: reverse})
				v.Close()
				if err != nil || len(page.Items) != want {
					t.Errorf("prefix %q finds %d rows, expected %d (%v)", prefix, len(page.Items), want, err)
				}
			}
		}
	})
}

// writeEdits makes a blind write.
func writeEdits(t testing.TB, n *Namespace, edits ...edit) {
	t.Helper()
	if _, err := n.Write(t.Context(), batchOf(edits)); err != nil {
		t.Fatal(err)
	}
}

// Cells that expire at the very same moment, more of them than one record lets
// expire, were looked at again and again and the rest never.
func TestManyKeysExpireAtOnce(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	const keys = 2*expireBatch + 500
	var edits []edit
	for i := range keys {
		edits = append(edits, edit{kind: editPut, key: fmt.Sprintf("key/%05d", i), value: []byte("v"), ttl: time.Second})
	}
	writeEdits(t, n, edits...)
	clock.Advance(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n.expireDue(ctx, clock.Now().UnixNano())
	if got := n.Counters().Expired; got != keys || ctx.Err() != nil {
		t.Errorf("%d keys expired, expected %d (%v)", got, keys, ctx.Err())
	}
	if due := n.nextDue.Load(); due != 0 {
		t.Errorf("the next expiry is noted for %d", due)
	}
	checkSound(t, n)
}

// An expiry that came while others were being removed was forgotten.
func TestNoExpiryIsForgotten(t *testing.T) {
	clock := newFakeClock()
	o := testOptions(t, vfs.NewMem())
	o.Clock = clock.Now
	n := createNS(t, openDB(t, o), "test")
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 200 {
				b := batchOf([]edit{{kind: editPut, key: fmt.Sprintf("%d/%d", w, i), value: []byte("v"), ttl: time.Millisecond}})
				if _, err := n.Write(context.Background(), b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
		}
		clock.Advance(300 * time.Microsecond)
		n.expireDue(context.Background(), clock.Now().UnixNano())
	}
	clock.Advance(time.Hour)
	n.expireDue(context.Background(), clock.Now().UnixNano())
	v, err := n.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	v.now = 0 // shows what is due, too
	page, err := v.Scan(Scan{})
	if err != nil || len(page.Items) != 0 {
		t.Errorf("%d keys are still there (%v)", len(page.Items), err)
	}
}

// With a long sync_interval writers waited for it as soon as the memtables were
// full, because what isn't synced can't be flushed.
func TestLongSyncIntervalHoldsUpNobody(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	o.Defaults.Storage.SyncInterval = time.Hour
	o.Defaults.Storage.MemtableSize = MinMemtableSize
	n := createNS(t, openDB(t, o), "test")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 100 {
		b := batchOf([]edit{{kind: editPut, key: fmt.Sprint(i), value: make([]byte, 10_000)}})
		if _, err := n.Write(ctx, b); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	checkSound(t, n)
}

// A power cut took the whole data directory, acknowledged writes and all, where
// the directories above it were new.
func TestNewDataDirectorySurvives(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(t, mem)
	o.Dir = "/srv/new/unisondb"
	n := createNS(t, openDB(t, o), "test")
	putKey(t, n, "key", "value")
	o.FS = mem.Crash(rand.New(rand.NewPCG(1, 1)), vfs.CrashOptions{})
	after, err := openDB(t, o).Namespace("test")
	if err != nil {
		t.Fatal(err)
	}
	wantKey(t, after, "key", "value")
}

// A flush that failed on a full disk went on failing after space was freed: what
// was answered was the error of the try before.
func TestFlushAfterFullDiskAnswersForItself(t *testing.T) {
	mem := vfs.NewMem()
	n := createNS(t, openDB(t, testOptions(t, mem)), "test")
	putKey(t, n, "key", string(make([]byte, 1<<16)))
	mem.SetCapacity(mem.Used())
	if err := n.Flush(t.Context()); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("flush on a full disk: %v", err)
	}
	mem.SetCapacity(-1)
	flush(t, n)
}

// An epoch number in meta.json that changed on the disk was taken as it was, and
// a number used a second time.
func TestMetaIsChecked(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("/ns"); err != nil {
		t.Fatal(err)
	}
	m := meta{Format: metaFormat, Lineage: Lineage{1}, Engine: EngineMemory, LastEpoch: 1<<20 + 25}
	if err := m.write(mem, "/ns"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("/ns", metaName)
	b, err := readFile(mem, path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(b) * 8 {
		damaged := bytes.Clone(b)
		damaged[bit/8] ^= 1 << (bit % 8)
		overwrite(t, mem, path, damaged)
		if _, err := readMeta(mem, "/ns"); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) {
			t.Errorf("with bit %d flipped: %v", bit, err)
		}
	}
}

// A replica took records that it could not apply into its log: it was frozen,
// and could never be opened again.
func TestReplicaRefusesWhatItCannotApply(t *testing.T) {
	batch := func(fill func(b *codec.Builder)) codec.Record {
		var b codec.Builder
		fill(&b)
		return b.Seal(2, epochStarts, 1)
	}
	unknown := codec.NewMarkRecord(2, epochStarts, 1)
	unknown[32] = 99 // its kind
	binary.LittleEndian.PutUint32(unknown[4:], crc32.Checksum(unknown[8:], codec.Castagnoli))
	for name, rec := range map[string]codec.Record{
		"manifest": batch(func(b *codec.Builder) { b.Manifest(codec.ManifestKey([]byte("k")), []byte("short"), codec.Expiry{}) }),
		"row":      batch(func(b *codec.Builder) { b.DeleteRow([]byte("no row")) }),
		"kind":     unknown,
	} {
		t.Run(name, func(t *testing.T) {
			o := replicaOptions(vfs.NewMem())
			n := createNS(t, openDB(t, o), "test")
			if err := n.Append(t.Context(), [][]byte{codec.NewEpochRecord(1, epochStarts, 1, 5)}, 1); err != nil {
				t.Fatal(err)
			}
			if err := n.Append(t.Context(), [][]byte{rec}, 2); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) {
				t.Errorf("it answers %v", err)
			}
			if s := n.Status(); s.LSN != 1 || s.State != StateServing {
				t.Errorf("%+v", s)
			}
		})
	}
}
