package dbkernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
	"github.com/unisondb/unisondb/dbkernel/vfs"
)

// TestCrashPointsOfReplica feeds an owner's log, with several epochs in it, to a
// replica and crashes it before every change of its disk: what it has
// acknowledged is there, byte for byte, its epoch table is the owner's up to
// there, and it goes on from where it ends.
func TestCrashPointsOfReplica(t *testing.T) {
	seed, _ := longForm(t)
	source, table := ownerLog(t)
	points := 0
	for i := range uint64(2) {
		points += crashReplica(t, seed+i, source, table)
	}
	t.Logf("%d crash points", points)
}

// ownerLog is the log of an owner that was started a few times.
func ownerLog(t *testing.T) ([]codec.Record, []EpochStart) {
	t.Helper()
	o := faultOptions(vfs.NewMem())
	var records []codec.Record
	var table []EpochStart
	for life := range 3 {
		db, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		n, err := db.Namespace("test")
		if life == 0 {
			n, err = db.Create("test", Lineage{1})
		}
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(uint64(life), 8))
		for i := range 40 {
			writeEdits(t, n, edit{kind: editPut, key: fmt.Sprint(i % 9), value: make([]byte, rng.IntN(6000))},
				edit{kind: editPutColumn, key: fmt.Sprint(i % 4), column: fmt.Sprint(i % 3), value: []byte("v")})
		}
		putObject(t, n, "object", randomBytes(uint64(life), 5000))
		if records, err = readLog(context.Background(), n); err != nil {
			t.Fatal(err)
		}
		table = n.EpochTable()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return records, table
}

func replicaOptions(fsys vfs.FS) Options {
	o := faultOptions(fsys)
	o.Defaults.Replica = true
	return o
}

// replicaPoint is a replica's disk after a crash, with what it had acknowledged.
type replicaPoint struct {
	op      string
	fs      *vfs.Mem
	created bool
	acked   uint64
}

func crashReplica(t *testing.T, seed uint64, source []codec.Record, table []EpochStart) int {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 9))
	mem := vfs.NewMem()
	var mu sync.Mutex // the log makes segments in the background
	var points []replicaPoint
	created, acked := false, uint64(0)
	fsys := vfs.WithFaults(mem, vfs.Hooks{Before: func(o vfs.Op) *vfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if o.Kind.Writes() {
			points = append(points, replicaPoint{o.String(), mem.Crash(rng, vfs.AnyCrash(rng)), created, acked})
		}
		return nil
	}})
	db, err := Open(replicaOptions(fsys))
	if err != nil {
		t.Fatal(err)
	}
	n, err := db.Create("test", Lineage{1})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	created = true
	mu.Unlock()
	for _, run := range runs(rand.New(rand.NewPCG(seed, 10)), source) {
		last := run[len(run)-1].LSN()
		if err := n.Append(context.Background(), [][]byte{slices.Concat(run...)}, last-last%3); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		acked = last
		mu.Unlock()
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		if err := checkReplica(p, source, table); err != nil {
			t.Fatalf("SEED=%d: crash before %s: %v", seed, p.op, err)
		}
	}
	return len(points)
}

// runs cuts records into runs of a few.
func runs(rng *rand.Rand, records []codec.Record) (all [][]codec.Record) {
	for len(records) > 0 {
		n := min(1+rng.IntN(4), len(records))
		all, records = append(all, records[:n]), records[n:]
	}
	return all
}

func checkReplica(p replicaPoint, source []codec.Record, table []EpochStart) (err error) {
	o := replicaOptions(p.fs)
	o.Logger = hclog.NewNullLogger()
	db, err := Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	n, err := db.Namespace("test")
	if errors.Is(err, ErrNamespaceNotFound) && !p.created {
		return nil
	}
	if err != nil {
		return err
	}
	s := n.Status()
	if s.State != StateServing || s.LSN < p.acked || s.CommitLSN > s.DurableLSN || s.CheckpointLSN > s.CommitLSN {
		return fmt.Errorf("%d was acknowledged, now %+v", p.acked, s)
	}
	if err := cellsAgree(n); err != nil {
		return err
	}
	records, err := readLog(context.Background(), n)
	if err != nil {
		return err
	}
	for i, rec := range records {
		if !bytes.Equal(rec, source[i]) {
			return fmt.Errorf("record LSN %d isn't the owner's", i+1)
		}
	}
	if got, want := n.EpochTable(), epochsUpTo(table, s.LSN); !slices.Equal(got, want) {
		return fmt.Errorf("the epoch table is %v at LSN %d, expected %v", got, s.LSN, want)
	}
	// What it has already is passed over, what it lacks is taken.
	var rest [][]byte
	for _, rec := range source[max(int64(s.LSN)-2, 0):] {
		rest = append(rest, rec)
	}
	last := source[len(source)-1].LSN()
	if err := n.Append(context.Background(), rest, last); err != nil {
		return err
	}
	if got := n.CommitLSN(); got != last {
		return fmt.Errorf("the commit LSN is %d, expected %d", got, last)
	}
	return sound(n)
}
