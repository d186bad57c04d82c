package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/sdk/client"
)

// A relayer whose source no longer has the log that it needs copies a snapshot,
// over a slow link, while the hub takes writes; and it is killed meanwhile.

// bootstrapForm is how much of that is done: little in `make test`, 2 GiB and ten
// kills where DURATION is set. BOOTSTRAP_MIB=n takes another size.
type bootstrapForm struct {
	bytes    int64 // of the namespace, at least
	phases   []string
	patience time.Duration
	storage  string // of both nodes
}

// When the relayer is killed: while chunks arrive, while the log behind them is
// fetched, and around the moment when the copy takes the place of the old data.
const (
	inChunks  = "chunks"
	inLog     = "log"
	atInstall = "install"
)

const linkBits = 100_000_000 // a second

// lostAtKill is what a kill may cost: what the stream's window, the sink's queue and
// the chunk in the making hold, in bytes.
const lostAtKill = 4 << 20

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(exitCode int) {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(exitCode)
	}))
}

func bootstrapFormOf(t *testing.T) bootstrapForm {
	t.Helper()
	f := bootstrapForm{
		bytes: 64 << 20, phases: []string{inChunks, inLog, atInstall}, patience: patience,
		storage: storageBlock("1MiB", "4MiB", "4MiB"),
	}
	if os.Getenv("DURATION") != "" {
		f = bootstrapForm{
			bytes: 2 << 30, patience: 20 * time.Minute, storage: storageBlock("4MiB", "32MiB", "32MiB"),
			phases: []string{inChunks, inChunks, inChunks, inChunks, inChunks, inChunks, inLog, inLog, atInstall, atInstall},
		}
	}
	if s := os.Getenv("BOOTSTRAP_MIB"); s != "" {
		mib, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatalf("BOOTSTRAP_MIB=%s: %v", s, err)
		}
		f.bytes = mib << 20
	}
	return f
}

// storageBlock keeps so little of the log that a follower soon falls out of it.
func storageBlock(segment, memtable, retention string) string {
	return fmt.Sprintf("storage {\n  segment_size = %q\n  memtable_size = %q\n  retention {\n    max_bytes = %q\n    min_segments = 2\n  }\n}\n", segment, memtable, retention)
}

// bootstrap is a hub under load and a relayer behind a slow link.
type bootstrap struct {
	t         *testing.T
	form      bootstrapForm
	rng       *rand.Rand
	hub, edge *process
	line      *link
	ledger    *ledger
	writers   []*writer
	old       os.FileInfo // of what the relayer had before; nil: nothing
}

func newBootstrap(t *testing.T, form bootstrapForm) *bootstrap {
	t.Helper()
	binary, seed := buildBinary(t), seedFromEnv(t)
	b := &bootstrap{t: t, form: form, rng: rand.New(rand.NewPCG(seed, 2)), ledger: newLedger()}
	b.hub = newProcess(t, binary, "hub", "server", form.storage+"namespace \"default\" {}\n")
	b.line = newLink(t, b.hub.grpc, linkBits)
	b.edge = newProcess(t, binary, "relayer", "relayer",
		form.storage+fmt.Sprintf("relayer {\n  upstream \"up\" {\n    addresses = [%q]\n    namespaces = [\"default\"]\n  }\n}\n", b.line.address))
	for i := range 3 {
		b.writers = append(b.writers, newWriter(i, b.ledger, b.hub.client, seed))
	}
	return b
}

// TestBootstrapOverASlowLink kills the relayer at random moments of a bootstrap. In
// the end it has every acknowledged write, its digests are the hub's, and little was
// sent twice; until then it serves what it had before, and nothing else.
func TestBootstrapOverASlowLink(t *testing.T) {
	t.Parallel()
	b := newBootstrap(t, bootstrapFormOf(t))
	ctx, cancel := context.WithTimeout(t.Context(), 4*b.form.patience)
	defer cancel()

	b.hub.start()
	b.followALittle(ctx)
	b.load(ctx)
	b.put(ctx, "old", "newer")
	size, before := b.ledger.size(), b.line.down.Load()

	stop := b.keepWriting(ctx)
	b.edge.start()
	watch := b.watchOldState(ctx)
	handedAtKills := b.killAtEach(ctx, size, before)
	b.await(ctx, b.edge, b.ledger.lastPosition())
	stop()
	watch()

	handed, least := b.handed(ctx), b.ledger.leastSize()
	down := b.line.down.Load() - before
	twice := max(0, handed-least)
	t.Logf("chunks: %d MiB of %d to %d MiB handed to the stream, %.2f %% of them twice, %d KiB a kill; over the link: %d MiB",
		handed>>20, least>>20, b.ledger.size()>>20, 100*float64(twice)/float64(least), twice>>10/int64(len(b.form.phases)), down>>20)
	if handed < least {
		t.Errorf("%d bytes of chunks were handed to the stream, the snapshot has at least %d", handed, least)
	}
	if limit := max(least/50, int64(handedAtKills)*lostAtKill); twice > limit {
		t.Errorf("%d bytes were handed to the stream twice, at most %d may be", twice, limit)
	}
	if slack := int64(len(b.form.phases))*lostAtKill + handed/100; down < handed-slack {
		t.Errorf("the link carried %d bytes, of chunks alone %d were handed to it", down, handed)
	}
	b.verify(ctx)
}

// TestBootstrapWithTheHubKilled kills the hub instead, which forgets for whom it
// keeps its log.
func TestBootstrapWithTheHubKilled(t *testing.T) {
	t.Parallel()
	form := bootstrapFormOf(t)
	form.bytes /= 8
	b := newBootstrap(t, form)
	ctx, cancel := context.WithTimeout(t.Context(), 4*b.form.patience)
	defer cancel()

	b.hub.start()
	b.load(ctx)
	size, before := b.ledger.size(), b.line.down.Load()
	stop := b.keepWriting(ctx)
	b.edge.start()
	for i := range 2 {
		at := before + int64((float64(i)+b.rng.Float64())/2*float64(size))
		b.until(ctx, "chunks arrive", func() bool { return b.line.down.Load() >= at || b.installed() })
		t.Logf("killing the hub, %d KiB were sent, installed: %v", (b.line.down.Load()-before)>>10, b.installed())
		b.hub.kill()
		b.hub.start()
	}
	b.await(ctx, b.edge, b.ledger.lastPosition())
	stop()
	b.verify(ctx)
}

// followALittle has the relayer follow from the beginning, and go away.
func (b *bootstrap) followALittle(ctx context.Context) {
	b.t.Helper()
	p := b.put(ctx, "old", "old")
	b.edge.start()
	b.await(ctx, b.edge, p)
	b.edge.kill()
	if b.old = b.edgeFile("namespaces", "default"); b.old == nil {
		b.t.Fatal("the relayer has nothing of the namespace")
	}
}

func (b *bootstrap) put(ctx context.Context, key, value string) (p client.Position) {
	b.t.Helper()
	err := until(ctx, func() (err error) {
		p, err = b.hub.client.KV().Put(ctx, []byte(key), []byte(value))
		return err
	})
	if err != nil {
		b.t.Fatalf("writing %s: %v", key, err)
	}
	return p
}

// load fills the namespace, until the log begins behind what the relayer has.
func (b *bootstrap) load(ctx context.Context) {
	b.t.Helper()
	var wg sync.WaitGroup
	for _, w := range b.writers {
		wg.Go(func() {
			if err := w.fill(ctx, b.form.bytes/int64(len(b.writers))); err != nil {
				b.t.Errorf("filling: %v", err)
			}
		})
	}
	wg.Wait()
	if b.t.Failed() {
		b.t.FailNow()
	}
	b.until(ctx, "the hub has trimmed its log", func() bool { return b.metric(ctx, "unisondb_first_lsn") > 20 })
}

// keepWriting lets writers change something all the time, at a rate far below the
// link's. The function stops them.
func (b *bootstrap) keepWriting(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, w := range b.writers {
		wg.Go(func() {
			if err := w.keepChanging(ctx, 60*time.Millisecond); err != nil {
				b.t.Errorf("writing: %v", err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	b.t.Cleanup(stop)
	return stop
}

// killAtEach kills the relayer in every phase that the form asks for, and answers
// how many of the kills may have cost chunks.
func (b *bootstrap) killAtEach(ctx context.Context, size, before int64) (inTheMiddle int) {
	var at []float64 // shares of the chunks
	for _, phase := range b.form.phases {
		if phase == inChunks {
			at = append(at, 0.1+0.8*b.rng.Float64())
		}
	}
	slices.Sort(at)
	for i, phase := range b.form.phases {
		var due func() bool
		switch phase {
		case inChunks:
			enough := before + int64(at[i]*float64(size))
			due = func() bool { return b.line.down.Load() >= enough }
			inTheMiddle++
		case inLog:
			b.until(ctx, "all chunks are there", func() bool { return b.inLog() || b.installed() })
			enough := b.line.down.Load() + b.rng.Int64N(2<<20)
			due = func() bool { return b.line.down.Load() >= enough }
		default:
			due = b.installed
			if i%2 == 1 { // and once just before, if that can be hit
				due = func() bool { return b.caughtUp(ctx) || b.installed() }
			}
		}
		b.until(ctx, "it is time to kill in phase "+phase, func() bool { return due() || b.installed() })
		b.t.Logf("killing the relayer in phase %s: %d KiB came over the link; log begun: %v, installed: %v",
			phase, (b.line.down.Load()-before)>>10, b.inLog(), b.installed())
		b.edge.kill()
		b.edge.start()
	}
	return inTheMiddle
}

// edgeFile describes a file of the relayer; nil where there is none.
func (b *bootstrap) edgeFile(names ...string) os.FileInfo {
	info, err := os.Stat(filepath.Join(append([]string{filepath.Dir(b.edge.config), "data"}, names...)...))
	if err != nil {
		return nil
	}
	return info
}

// inLog reports whether all chunks are there, and the log is being fetched.
func (b *bootstrap) inLog() bool { return b.edgeFile("incoming", "default", "wal") != nil }

// installed reports whether the copy has taken the place of what was there before.
func (b *bootstrap) installed() bool {
	is := b.edgeFile("namespaces", "default")
	return is != nil && (b.old == nil || !os.SameFile(is, b.old))
}

// caughtUp reports whether the relayer's copy has little left to fetch.
func (b *bootstrap) caughtUp(ctx context.Context) bool {
	s, err := b.edge.client.Status(ctx)
	if err != nil || len(s.Namespaces) == 0 {
		return false
	}
	lag := s.Namespaces[0].LagRecords
	return b.inLog() && lag != nil && *lag < 50
}

// watchOldState reads a key on the relayer that it had before. The answer is the old
// value until it is the new one, whatever is killed; a relayer that is down answers
// nothing. The function ends the watch.
func (b *bootstrap) watchOldState(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		seen := map[string]int{}
		last := "old"
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			v, err := b.edge.client.KV().Get(ctx, []byte("old"))
			var answer *client.Error
			switch value := string(v.Data); {
			case errors.As(err, &answer):
				b.t.Errorf("the relayer answers %v for what it has", answer)
				return
			case err != nil: // it is down
				seen["down"]++
			case value != last && (value != "newer" || last != "old"):
				b.t.Errorf("the relayer answers %q after %q", value, last)
				return
			default:
				last = value
				seen[value]++
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		b.t.Logf("answers of the relayer meanwhile: %v", seen)
		if seen["old"] == 0 {
			b.t.Error("the relayer never served what it had before")
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	b.t.Cleanup(stop)
	return stop
}

// await waits until a node has seen a write.
func (b *bootstrap) await(ctx context.Context, n *process, p client.Position) {
	b.t.Helper()
	err := until(ctx, func() error {
		_, err := n.client.KV().Get(ctx, []byte("old"), client.AtLeast(p), client.Wait(5*time.Second))
		if errors.Is(err, client.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		s, statusErr := n.client.Status(context.WithoutCancel(ctx))
		b.t.Fatalf("%s doesn't come to %v: %v; its status: %+v, %v", n.name, p, err, s.Namespaces, statusErr)
	}
}

// until waits for a condition.
func (b *bootstrap) until(ctx context.Context, what string, ok func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, b.form.patience)
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return ok(), nil }); err != nil {
		s, statusErr := b.edge.client.Status(b.t.Context())
		b.t.Fatalf("waited in vain: %s: %v; the relayer's status: %+v, %v", what, err, s.Namespaces, statusErr)
	}
}

// handed is how many bytes of chunks the hub has handed to streams.
func (b *bootstrap) handed(ctx context.Context) int64 {
	return int64(b.metric(ctx, "unisondb_snapshot_bytes_total"))
}

// metric reads a metric of the hub for the namespace; 0 where there is none.
func (b *bootstrap) metric(ctx context.Context, name string) float64 {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.hub.client.Address()+"/metrics", http.NoBody)
	if err != nil {
		b.t.Error(err)
		return 0
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0 // the hub is down
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0
	}
	var sum float64
	for line := range bytes.Lines(text) {
		sample, value, ok := strings.Cut(strings.TrimSpace(string(line)), "} ")
		if !ok || !strings.HasPrefix(sample, name+"{") || !strings.Contains(sample, `namespace="default"`) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			b.t.Errorf("metric %q: %v", line, err)
		}
		sum += v
	}
	return sum
}

// verify compares both nodes at a mark, and each with all that was acknowledged.
func (b *bootstrap) verify(ctx context.Context) {
	b.t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	var mark client.Position
	err := until(ctx, func() (err error) {
		if _, err = b.hub.client.KV().Delete(ctx, []byte("old")); err == nil {
			mark, err = b.hub.client.WriteMark(ctx)
		}
		return err
	})
	if err != nil {
		b.t.Fatalf("writing a mark: %v", err)
	}
	b.await(ctx, b.edge, mark)
	var digests [2]client.Digests
	for i, n := range []*process{b.hub, b.edge} {
		if digests[i], err = n.client.Digests(ctx, mark.LSN, patience); err != nil {
			b.t.Fatalf("digests of %s: %v", n.name, err)
		}
	}
	if digests[0].Digest != digests[1].Digest || !slices.Equal(digests[0].Ranges, digests[1].Ranges) {
		b.t.Errorf("at the mark %v the digests differ", mark)
	}
	for _, n := range []*process{b.hub, b.edge} {
		b.t.Run(n.name, func(t *testing.T) { b.ledger.check(ctx, t, n.client) })
	}
}
