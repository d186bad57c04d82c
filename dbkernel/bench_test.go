//go:build cgo

package dbkernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/btree"
	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/internal/lmdb"
	"github.com/unisondb/unisondb/dbkernel/internal/memtable"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// The benchmarks of the kernel's budgets. Each runs a whole workload once
// (-benchtime=1x) and prints its ratio to a bare loop measured in the same run:
// absolute figures of a shared machine mean little.

const (
	benchValue   = 1 << 10
	benchWriters = 100
)

func benchOptions(dir string) Options {
	return Options{Dir: dir, Defaults: NamespaceOptions{Storage: StorageOptions{Engine: EngineLMDB, MapSize: 8 << 30}}}
}

// putAll has 100 writers put n values under keys that key makes.
func putAll(b *testing.B, ns *Namespace, n int, key func(i int) []byte) time.Duration {
	b.Helper()
	value := randomBytes(7, benchValue)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range benchWriters {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				var batch Batch
				if err := batch.Put(key(i), value, 0); err != nil {
					b.Error(err)
					return
				}
				if _, err := ns.Write(context.Background(), &batch); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func sequentialKey(i int) []byte { return fmt.Appendf(nil, "user:%012d", i) }

// bareLoop writes groups of 100 records to a zero-filled file, each with one
// pwritev and one fdatasync, and answers records a second.
func bareLoop(b *testing.B, dir string, records int) float64 {
	b.Helper()
	f, err := vfs.OS().Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	const recordLen = benchValue + 80
	zeros := make([]byte, 1<<20)
	size := int64(records) * recordLen
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WritevAt([][]byte{zeros}, at); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	group := make([][]byte, 100)
	for i := range group {
		group[i] = randomBytes(uint64(i), recordLen)
	}
	start := time.Now()
	for i := 0; i < records; i += len(group) {
		if _, err := f.WritevAt(group, int64(i)*recordLen); err != nil {
			b.Fatal(err)
		}
		if err := f.SyncData(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(records) / time.Since(start).Seconds()
}

// BenchmarkPutBurst: durable puts of 1 KiB by 100 writers, within two
// memtables. Budget: 150,000 a second, or 40 % of the bare loop where that is less.
func BenchmarkPutBurst(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		const records = 100_000
		bare := bareLoop(b, dir, records)
		db := openDB(b, benchOptions(dir))
		ns := createNS(b, db, "bench")
		putAll(b, ns, 10_000, func(i int) []byte { return sequentialKey(i + records) })
		took := putAll(b, ns, records, sequentialKey)
		rate := records / took.Seconds()
		b.ReportMetric(rate, "puts/s")
		b.ReportMetric(bare, "bare-puts/s")
		b.ReportMetric(rate/min(150_000, 0.4*bare), "ratio-to-budget")
		c := ns.Counters()
		b.ReportMetric(float64(c.Records)/float64(c.Groups), "records/group")
	}
}

// BenchmarkPutSustained: random keys, 20 memtables' worth, against bare LMDB fed
// the same sorted transactions of 64 MiB. Budget: 70 %. Whichever runs second finds
// a page cache and a disk that the first has used, which costs a fifth or more; so
// each goes first once, and the time of both runs counts.
func BenchmarkPutSustained(b *testing.B) {
	const records = 20 * 64 << 20 / (benchValue + 20)
	keys := rand.New(rand.NewPCG(1, 2)).Perm(records)
	for b.Loop() {
		var ours, bare, stall time.Duration
		runs := []func(){
			func() { bare += sustainBare(b, keys) },
			func() {
				took, stalled := sustainOurs(b, keys)
				ours, stall = ours+took, stall+stalled
			},
		}
		for _, run := range []int{0, 1, 1, 0} {
			runs[run]()
		}
		b.ReportMetric(2*records/ours.Seconds(), "puts/s")
		b.ReportMetric(2*records/bare.Seconds(), "bare-lmdb-puts/s")
		b.ReportMetric(bare.Seconds()/(0.7*ours.Seconds()), "ratio-to-budget")
		b.ReportMetric(stall.Seconds()/2, "stall-s")
	}
}

// sustainOurs puts the records into a namespace, the last flush included, and
// removes what it wrote.
func sustainOurs(b *testing.B, keys []int) (took, stalled time.Duration) {
	b.Helper()
	dir, err := os.MkdirTemp(b.TempDir(), "ours")
	if err != nil {
		b.Fatal(err)
	}
	db := openDB(b, benchOptions(dir))
	ns := createNS(b, db, "bench")
	start := time.Now()
	putAll(b, ns, len(keys), func(i int) []byte { return sequentialKey(keys[i]) })
	if err := ns.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	took, stalled = time.Since(start), ns.Counters().WriteStall
	if err := errors.Join(db.Close(), os.RemoveAll(dir)); err != nil {
		b.Fatal(err)
	}
	return took, stalled
}

// sustainBare puts them into LMDB alone.
func sustainBare(b *testing.B, keys []int) time.Duration {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "bare")
	env, _, rate := bareTree(b, dir, keys)
	if err := errors.Join(env.Close(), os.RemoveAll(dir)); err != nil {
		b.Fatal(err)
	}
	return time.Duration(float64(len(keys)) / rate * float64(time.Second))
}

func openBareTree(b *testing.B, dir string) (*lmdb.Env, lmdb.DBI) {
	b.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	env, err := lmdb.NewEnv()
	if err != nil {
		b.Fatal(err)
	}
	if err := env.SetMapSize(8 << 30); err != nil {
		b.Fatal(err)
	}
	if err := env.Open(dir, 0, 0o644); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = env.Close() })
	var dbi lmdb.DBI
	if err := env.Update(func(txn *lmdb.Txn) (err error) {
		dbi, err = txn.OpenRoot(0)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return env, dbi
}

// bareTree puts the records into LMDB alone, in sorted transactions of 64 MiB.
func bareTree(b *testing.B, dir string, keys []int) (env *lmdb.Env, dbi lmdb.DBI, rate float64) {
	b.Helper()
	env, dbi = openBareTree(b, dir)
	value := randomBytes(7, benchValue)
	start := time.Now()
	for part := range slices.Chunk(keys, 64<<20/(benchValue+20)) {
		sorted := slices.Sorted(slices.Values(part))
		if err := env.Update(func(txn *lmdb.Txn) error {
			for _, k := range sorted {
				if err := txn.Put(dbi, sequentialKey(k), value, 0); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	return env, dbi, float64(len(keys)) / time.Since(start).Seconds()
}

// BenchmarkGetMemtable: a get of what is in the memtable. Budget: 1 µs.
func BenchmarkGetMemtable(b *testing.B) {
	db := openDB(b, benchOptions(b.TempDir()))
	ns := createNS(b, db, "bench")
	const records = 40_000
	putAll(b, ns, records, sequentialKey)
	perGet := benchGets(b, ns, records)
	b.ReportMetric(perGet/1000, "ratio-to-budget")
}

// BenchmarkGetTree: a get of what is in the B+tree alone, against a bare LMDB
// get of the same file's keys. Budget: 1.3 times.
func BenchmarkGetTree(b *testing.B) {
	dir := b.TempDir()
	db := openDB(b, benchOptions(dir))
	ns := createNS(b, db, "bench")
	const records = 200_000
	putAll(b, ns, records, sequentialKey)
	if err := ns.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	keys := make([]int, records)
	for i := range keys {
		keys[i] = i
	}
	env, dbi, _ := bareTree(b, filepath.Join(dir, "bare"), keys)
	bare := bareGets(b, env, dbi, records)
	perGet := benchGets(b, ns, records)
	b.ReportMetric(bare, "bare-ns/get")
	b.ReportMetric(perGet/(1.3*bare), "ratio-to-budget")
}

const gets = 200_000

func benchGets(b *testing.B, ns *Namespace, records int) (nsPerGet float64) {
	b.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	var key [17]byte
	for b.Loop() {
		start := time.Now()
		for range gets {
			k := appendKey(key[:0], rng.IntN(records))
			if _, _, err := ns.Get(k); err != nil {
				b.Fatal(err)
			}
		}
		nsPerGet = float64(time.Since(start).Nanoseconds()) / gets
	}
	b.ReportMetric(nsPerGet, "ns/get")
	return nsPerGet
}

// appendKey is sequentialKey without fmt.
func appendKey(b []byte, i int) []byte {
	b = append(b, "user:000000000000"...)
	for at := len(b) - 1; i > 0; at, i = at-1, i/10 {
		b[at] = byte('0' + i%10)
	}
	return b
}

// bareGets reads with a renewed transaction for each get, as one must.
func bareGets(b *testing.B, env *lmdb.Env, dbi lmdb.DBI, records int) float64 {
	b.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	txn, err := env.BeginTxn(nil, lmdb.Readonly)
	if err != nil {
		b.Fatal(err)
	}
	defer txn.Abort()
	var key [17]byte
	start := time.Now()
	for range gets {
		txn.Reset()
		if err := txn.Renew(); err != nil {
			b.Fatal(err)
		}
		if _, err := txn.Get(dbi, appendKey(key[:0], rng.IntN(records))); err != nil {
			b.Fatal(err)
		}
	}
	return float64(time.Since(start).Nanoseconds()) / gets
}

// BenchmarkIdleNamespace: anonymous memory of a namespace that was written once
// and is idle. Budget: 100 KiB.
func BenchmarkIdleNamespace(b *testing.B) {
	for b.Loop() {
		const namespaces = 1000
		clock := newFakeClock()
		o := benchOptions(b.TempDir())
		o.Defaults.Storage.MapSize = 1 << 30
		o.Clock = clock.Now
		db := openDB(b, o)
		before := rssAnon(b)
		for i := range namespaces {
			n := createNS(b, db, fmt.Sprintf("ns-%04d", i))
			putKey(b, n, "k", "v")
			idleOut(b, n, clock)
		}
		each := float64(rssAnon(b)-before) / namespaces
		b.ReportMetric(each, "B/namespace")
		b.ReportMetric(each/(100<<10), "ratio-to-budget")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
		runtime.KeepAlive(db)
	}
}

// rssAnon is the process's anonymous resident memory, in bytes.
func rssAnon(b *testing.B) int64 {
	b.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs /proc")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatal("no RssAnon")
	return 0
}

// BenchmarkRestart: from Open to the first answer, with 1 GiB of data and a full
// memtable's log to replay. Budget: 1 s.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	db, err := Open(benchOptions(dir))
	if err != nil {
		b.Fatal(err)
	}
	ns := createNS(b, db, "bench")
	const records = 1 << 20
	putAll(b, ns, records, sequentialKey)
	if err := ns.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	putAll(b, ns, 50_000, sequentialKey)
	crashed := filepath.Join(b.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		start := time.Now()
		db, err := Open(benchOptions(crashed))
		if err != nil {
			b.Fatal(err)
		}
		ns, err := db.Namespace("bench")
		if err != nil {
			b.Fatal(err)
		}
		wantNotEmpty(b, ns)
		took := time.Since(start)
		b.ReportMetric(took.Seconds(), "s/restart")
		b.ReportMetric(took.Seconds(), "ratio-to-budget")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func wantNotEmpty(b *testing.B, ns *Namespace) {
	b.Helper()
	if _, _, err := ns.Get(sequentialKey(1)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDigests flushes 60,000 keys, half of which replace others, with and
// without digests, in turns: a transaction that is dropped before its commit, so
// that no disk is in the figure, and one that is committed. Reported is the ratio of
// the shortest times.
func BenchmarkDigests(b *testing.B) {
	for _, size := range []int{64, benchValue} {
		for _, commit := range []bool{false, true} {
			b.Run(fmt.Sprintf("value=%d/commit=%t", size, commit), func(b *testing.B) {
				for b.Loop() {
					with, without := benchDigests(b, size, commit)
					b.ReportMetric(float64(with)/float64(without), "ratio")
					b.ReportMetric(float64(with-without)/60_000, "ns/key")
				}
			})
		}
	}
}

func benchDigests(b *testing.B, size int, commit bool) (with, without time.Duration) {
	b.Helper()
	const keys = 60_000
	ns := createNS(b, openDB(b, benchOptions(b.TempDir())), "bench")
	value := randomBytes(7, size)
	fill := func(m *mem, lsn uint64, step int) *mem {
		for i := range keys {
			m.Add(codec.KVKey(sequentialKey(step*i)), &memtable.Version{Version: codec.Version{Epoch: 1, LSN: lsn}, Kind: memtable.Put, Value: value})
		}
		m.last, m.marked = lsn, true
		return m
	}
	ns.Status()
	update := func(m *mem, digested bool) time.Duration {
		start := countStart{}
		if digested {
			start.digests = new(digests)
		}
		begun := time.Now()
		err := ns.tree.Update(func(tx btree.Tx) error {
			f := newFlushTx(ns, m, tx, start)
			if err := f.run(); err != nil {
				return err
			}
			if err := f.count.write(tx, f.point(), true); err != nil || commit {
				return err
			}
			return errors.ErrUnsupported
		})
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			b.Fatal(err)
		}
		return time.Since(begun)
	}
	commitFirst := commit
	commit = true
	update(fill(newMem(0, 1, 0), 1, 1), true)
	commit = commitFirst
	for i := range 7 {
		m := fill(newMem(0, 1, 0), uint64(2+i), 2)
		w, wo := update(m, true), update(m, false)
		if i == 0 || w < with {
			with = w
		}
		if i == 0 || wo < without {
			without = wo
		}
	}
	return with, without
}
