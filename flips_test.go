package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// damagedRelayer is a hub and a relayer of it whose B+tree's file is damaged while
// it runs. LMDB's pages carry no checksum, so that a flip in its own structures can
// make it die.
type damagedRelayer struct {
	t         *testing.T
	rng       *rand.Rand
	hub, edge *process
	line      *link
	numbers   map[string]uint64 // of each key's last write
	seen      map[string]int    // what became of flips
	scrubs    int               // in a row that were not enough
}

const (
	flipKeys  = 1500
	flipCount = 100
	pageBytes = 4096
	pageHead  = 64 // bytes of a page in which LMDB's own numbers are
)

func newDamagedRelayer(t *testing.T) *damagedRelayer {
	t.Helper()
	binary, seed := buildBinary(t), seedFromEnv(t)
	d := &damagedRelayer{t: t, rng: rand.New(rand.NewPCG(seed, 5)), numbers: map[string]uint64{}, seen: map[string]int{}}
	d.hub = newProcess(t, binary, "hub", "server", "namespace \"default\" {}\n")
	d.line = newLink(t, d.hub.grpc, 10*linkBits)
	d.edge = newProcess(t, binary, "relayer", "relayer",
		fmt.Sprintf("relayer {\n  upstream \"up\" {\n    addresses = [%q]\n    namespaces = [\"default\"]\n  }\n}\n", d.line.address))
	return d
}

// TestFlipsAnywhereInTheTree flips a bit anywhere in the file of the relayer's B+tree,
// a hundred times. Whatever that does to it, it never serves a wrong value; where it dies
// of it, the namespace is quarantined at the next start; and each time it is right again
// in the end, by its source.
func TestFlipsAnywhereInTheTree(t *testing.T) {
	t.Parallel()
	d := newDamagedRelayer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	d.hub.start()
	for i := 0; i < flipKeys; i += 100 {
		var keys []string
		for j := range 100 {
			keys = append(keys, fmt.Sprintf("key/%05d", i+j))
		}
		d.write(ctx, keys)
	}
	d.edge.start()
	d.settle(ctx)
	atOnce := 10
	if os.Getenv("DURATION") != "" {
		atOnce = 1
	}
	for done := 0; done < flipCount; done += atOnce {
		var at []int64
		for range atOnce {
			at = append(at, d.flip())
		}
		outcome := d.read(ctx)
		if outcome != "down" {
			d.touch(ctx)
			outcome += d.heal(ctx)
		} else {
			outcome += d.revive(ctx)
		}
		d.seen[outcome]++
		if t.Failed() {
			t.Fatalf("after %d flips, the last ones at bytes %d of the file: %s", done+atOnce, at, outcome)
		}
	}
	if outcome := d.heal(ctx); outcome != "" {
		t.Logf("what was left at the end: %s", outcome)
	}
	if outcome := d.read(ctx); outcome != "right" {
		t.Errorf("in the end reads are %s", outcome)
	}
	t.Logf("what became of %d flips, %d at a time: %v", flipCount, atOnce, d.seen)
}

// write puts keys on the hub.
func (d *damagedRelayer) write(ctx context.Context, keys []string) {
	d.t.Helper()
	items := make([]client.KeyValue, len(keys))
	for i, key := range keys {
		d.numbers[key]++
		items[i] = client.KeyValue{Key: []byte(key), Value: d.value(key, d.numbers[key])}
	}
	if _, err := d.hub.client.KV().PutAll(ctx, items); err != nil {
		d.t.Fatal(err)
	}
}

// value is what a key has: beside it in its page, or in pages of its own.
func (d *damagedRelayer) value(key string, number uint64) []byte {
	size := 100 + len(key)*int(key[len(key)-1]-'0')*4
	if strings.HasSuffix(key, "7") {
		size = 5000
	}
	return noise(key, number, size)
}

// isValue reports whether a key has had a value lately: a relayer may be behind.
func (d *damagedRelayer) isValue(key string, value []byte) bool {
	last := d.numbers[key]
	for number := last; number > 0 && number+5 > last; number-- {
		if bytes.Equal(value, d.value(key, number)) {
			return true
		}
	}
	return false
}

// touch overwrites a few keys and has every node flush them.
func (d *damagedRelayer) touch(ctx context.Context) {
	d.t.Helper()
	var keys []string
	for range 3 {
		keys = append(keys, fmt.Sprintf("key/%05d", d.rng.IntN(flipKeys)))
	}
	d.write(ctx, keys)
	if _, err := d.hub.client.WriteMark(ctx); err != nil {
		d.t.Fatal(err)
	}
}

// flip flips a bit of the B+tree's file: every other time among LMDB's own numbers, and
// preferably in a byte that isn't zero, since much of a page is unused.
func (d *damagedRelayer) flip() int64 {
	d.t.Helper()
	path := filepath.Join(filepath.Dir(d.edge.config), "data", "namespaces", "default", "db", "data.mdb")
	content, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	inHead := d.rng.IntN(2) == 0
	place := func() int {
		if inHead {
			return d.rng.IntN(len(content)/pageBytes)*pageBytes + d.rng.IntN(pageHead)
		}
		return d.rng.IntN(len(content))
	}
	at := place()
	for range 100 {
		if content[at] != 0 {
			break
		}
		at = place()
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{content[at] ^ 1<<d.rng.IntN(8)}, int64(at))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return int64(at)
}

// read asks the relayer for everything, one by one and in a list, and says how that
// went. Its data is as old as when it was last settled.
func (d *damagedRelayer) read(ctx context.Context) (outcome string) {
	d.t.Helper()
	outcome = "right"
	worse := func(err error) bool {
		var answer *client.Error
		switch {
		case err == nil:
			return false
		case !errors.As(err, &answer):
			outcome = "down"
			return true
		case outcome == "right":
			outcome = "refused"
		}
		return false
	}
	var keys [][]byte
	for i := range flipKeys {
		keys = append(keys, fmt.Appendf(nil, "key/%05d", i))
	}
	for at := 0; at < len(keys); at += 50 {
		found, _, err := d.edge.client.KV().GetAll(ctx, keys[at:at+50])
		if worse(err) {
			return outcome
		}
		for i, f := range found {
			switch key := string(keys[at+i]); {
			case !f.Found:
				outcome = "hidden"
			case !d.isValue(key, f.Value):
				d.t.Errorf("%s: a wrong value was served", key)
			}
		}
	}
	for item, err := range d.edge.client.KV().List(ctx, client.ListOptions{Limit: 2 * flipKeys}) {
		if worse(err) {
			return outcome
		}
		if err == nil && !d.isValue(string(item.Key), item.Value) {
			d.t.Errorf("%q: a wrong value was listed", item.Key)
		}
	}
	return outcome
}

// heal has the relayer look at its files, and waits until all is right again; it may
// die in the middle.
func (d *damagedRelayer) heal(ctx context.Context) (outcome string) {
	d.t.Helper()
	i, err := d.edge.client.Scrub(ctx)
	var answer *client.Error
	switch {
	case err == nil && i.Damaged:
		outcome = ", found"
	case err != nil && !errors.As(err, &answer):
		return ", down when scrubbed" + d.revive(ctx)
	}
	if !d.isSettled(ctx) {
		return outcome + ", down when repaired" + d.revive(ctx)
	}
	switch d.read(ctx) {
	case "right":
		return outcome
	case "down":
		return outcome + ", down when read" + d.revive(ctx)
	}
	// What was put right lies where an inner page doesn't lead to: the next scrub says
	// so, and the relayer is copied anew.
	if d.scrubs++; d.scrubs > 3 {
		d.t.Error("a relayer that was scrubbed and repaired doesn't serve everything")
		return outcome
	}
	defer func() { d.scrubs = 0 }()
	return outcome + ", again" + d.heal(ctx)
}

// revive starts a relayer that died. The namespace is quarantined until its source is
// reached.
func (d *damagedRelayer) revive(ctx context.Context) string {
	d.t.Helper()
	d.line.cut.Store(true)
	how := d.bury()
	d.edge.start()
	s, err := d.edge.client.Status(ctx)
	if err != nil {
		d.t.Fatalf("after it died of %s: %v", how, err)
	}
	state := s.Namespaces[0].State
	if how != "signal: killed" && state != "quarantined" {
		d.t.Errorf("after it died of %s the namespace is %s: %+v", how, state, s.Namespaces[0])
	}
	d.read(ctx)
	d.line.cut.Store(false)
	d.settle(ctx)
	return " by " + how
}

// bury says what a process died of. It must have been LMDB, not a panic of ours.
func (d *damagedRelayer) bury() string {
	d.t.Helper()
	cmd := d.edge.cmd
	d.edge.kill()
	how := cmd.ProcessState.String()
	said, _ := cmd.Stderr.(*lockedBuffer)
	if text := said.String(); !strings.Contains(text, "signal arrived during cgo execution") && !strings.Contains(text, "SIGBUS") && !strings.Contains(text, "SIGSEGV") && !strings.Contains(text, "SIGABRT") {
		d.t.Errorf("the relayer ended with %s and said\n%s", how, text)
	}
	return how
}

// settle waits until the relayer has everything and is sound.
func (d *damagedRelayer) settle(ctx context.Context) {
	d.t.Helper()
	if !d.isSettled(ctx) {
		d.t.Fatalf("the relayer went down: %s", d.bury())
	}
}

// isSettled is settle for a relayer that may die meanwhile.
func (d *damagedRelayer) isSettled(ctx context.Context) bool {
	d.t.Helper()
	mark, err := d.hub.client.WriteMark(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	want, err := d.hub.client.Digests(ctx, mark.LSN, patience)
	if err != nil {
		d.t.Fatal(err)
	}
	// A repair that doesn't help is made again after 5 s, 10 s, 20 s and so on.
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	var last error
	alive := true
	err = poll(ctx, func() (bool, error) {
		var answer *client.Error
		got, err := d.edge.client.Digests(ctx, mark.LSN, time.Second)
		switch {
		case err == nil && got.Digest == want.Digest && !got.Integrity.Damaged:
			return true, nil
		case err == nil:
			last = fmt.Errorf("digest %s, the hub has %s; %+v", got.Digest, want.Digest, got.Integrity)
		case errors.As(err, &answer):
			last = err
		case ctx.Err() == nil:
			alive = false
			return true, nil
		}
		if answer != nil && answer.Status == http.StatusNotFound { // it was repaired since, or copied past the mark
			mark, want = d.newMark(ctx)
		}
		return false, nil
	})
	if err != nil {
		s, _ := d.edge.client.Status(context.WithoutCancel(ctx))
		for _, n := range s.Namespaces {
			d.t.Logf("%s was compared: %+v", n.Name, n.Compared)
		}
		d.t.Fatalf("the relayer doesn't become sound: %v, %v: %+v", err, last, s.Namespaces)
	}
	return alive
}

// newMark has the hub write a mark behind a change.
func (d *damagedRelayer) newMark(ctx context.Context) (client.Position, client.Digests) {
	d.t.Helper()
	d.touch(ctx)
	mark, err := d.hub.client.WriteMark(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	want, err := d.hub.client.Digests(ctx, mark.LSN, patience)
	if err != nil {
		d.t.Fatal(err)
	}
	return mark, want
}
