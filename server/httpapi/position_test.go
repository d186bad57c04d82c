package httpapi_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
)

func TestReadsWaitForAPosition(t *testing.T) {
	f := newFixture(t)
	p := f.do("PUT", "/kv/a", putJSON("1")).position()
	atLeast := func(p dbkernel.Position) header { return header{httpapi.HeaderAtLeast, p.String()} }
	for _, path := range []string{"/kv/a", "/kv", "/row/a", "/row", "/lob", "/offset", "/checkpoint", "/stats"} {
		if got := f.do("GET", path, "", atLeast(p)).refusedWith(200).position(); got.LSN < p.LSN {
			t.Errorf("%s saw %v, not %v", path, got, p)
		}
	}
	next := p
	next.LSN++
	start := time.Now()
	f.do("GET", "/kv/a?wait=50ms", "", atLeast(next)).refused(504, httpapi.CodeNotCaughtUp)
	if took := time.Since(start); took < 50*time.Millisecond || took > 4*time.Second {
		t.Errorf("waited %v of 50ms", took)
	}
	f.do("GET", "/kv/a?wait=0s", "", atLeast(next)).refused(504, httpapi.CodeNotCaughtUp)
	f.do("GET", "/lob/none?wait=1ms", "", atLeast(next)).refused(504, httpapi.CodeNotCaughtUp)

	read := make(chan answer, 1)
	go func() { read <- f.do("GET", "/kv/a?wait=20s", "", atLeast(next)) }()
	f.do("PUT", "/kv/a", putJSON("2")).want(200, ok)
	(<-read).want(200, `{"value":"`+b64("2")+`","found":true,"version":"<any>"}`)
}

// TestAPositionIsOneOfTheHistory: where a replica has records that aren't committed
// yet, what it answers is still a position that a read may ask for.
func TestAPositionIsOneOfTheHistory(t *testing.T) {
	dir := t.TempDir()
	var before uint64 // the end of the first epoch
	var records [][]byte
	for range 2 {
		db, err := dbkernel.Open(dbkernel.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		owner, err := db.Create("default", dbkernel.Lineage{7})
		if errors.Is(err, dbkernel.ErrNamespaceExists) {
			owner, err = db.Namespace("default")
			before = owner.Status().LSN
		}
		if err != nil {
			t.Fatal(err)
		}
		var b dbkernel.Batch
		if err := b.Put([]byte("k"), []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := owner.Write(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		records = readLog(t, owner)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f := newFixture(t, func(o *fixtureOptions) { o.replica = true })
	replica, err := f.node.db.Create("copy", dbkernel.Lineage{7})
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Append(t.Context(), records, before); err != nil {
		t.Fatal(err)
	}
	if s := replica.Status(); s.CommitLSN != before || s.DurableLSN <= before {
		t.Fatalf("the replica is at %+v, committed is LSN %d", s, before)
	}
	for _, path := range []string{"/offset", "/checkpoint", "/stats", "/kv/k", "/kv"} {
		saw := f.do("GET", "!/api/v1/copy"+path, "").refusedWith(200).position()
		f.do("GET", "!/api/v1/copy/kv/k?wait=0s", "", header{httpapi.HeaderAtLeast, saw.String()}).refusedWith(200)
	}
}

// readLog reads all of a log.
func readLog(t *testing.T, ns *dbkernel.Namespace) [][]byte {
	t.Helper()
	tail, err := ns.Tail("test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	var records [][]byte
	for next := uint64(1); next <= ns.CommitLSN(); {
		run, err := tail.Next(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range run.Records {
			records = append(records, bytes.Clone(r))
		}
		next = run.Last + 1
	}
	return records
}

func TestLostAndMalformedPositions(t *testing.T) {
	f := newFixture(t)
	p := f.do("PUT", "/kv/a", putJSON("1")).position()
	other := p
	other.Lineage[0] ^= 1
	start := time.Now()
	f.do("GET", "/kv/a?wait=30s", "", header{httpapi.HeaderAtLeast, other.String()}).refused(409, httpapi.CodePositionLost)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("a lost position was waited for: %v", took)
	}
	f.do("PUT", "/kv/a", putJSON("2"), header{httpapi.HeaderAtLeast, other.String()}).refused(409, httpapi.CodePositionLost)
	newer := p
	newer.Epoch += 1 << 20
	f.do("GET", "/kv/a?wait=20ms", "", header{httpapi.HeaderAtLeast, newer.String()}).refused(504, httpapi.CodeNotCaughtUp)
	for _, bad := range []string{"x", "1:2:3", ":::", p.Lineage.String() + ":1", p.Lineage.String() + ":1:-1", p.String() + ":1", strings.ToUpper("z") + p.String()} {
		f.do("GET", "/kv/a", "", header{httpapi.HeaderAtLeast, bad}).refused(400, httpapi.CodeInvalidPosition)
	}
	f.do("GET", "/kv/a", "").want(200, `{"value":"`+b64("1")+`","found":true,"version":"<any>"}`)
}
