package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// changeOf reads a change as tests write it: "row.put r a,b".
func changeOf(t *testing.T, s string, lsn uint64) dbkernel.Change {
	t.Helper()
	words := strings.Fields(s)
	kind, op, _ := strings.Cut(words[0], ".")
	c := dbkernel.Change{LSN: lsn, Epoch: 1, Count: 1, Operation: dbkernel.Operation(op), Type: kind, Key: []byte(words[1])}
	if len(words) > 2 {
		c.Columns = strings.Split(words[2], ",")
	}
	return c
}

func TestCoalesce(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"the last of a key", "kv.put a; kv.put b; kv.delete a; kv.put a", "put b; put a"},
		{"the same key of another kind", "kv.put a; lob.put a; vector.put a; row.put a x", "put a; put a; put a; put a[x]"},
		{"other columns", "row.put r a; row.put r b", "put r[a]; put r[b]"},
		{"the same columns", "row.put r a,b; row.delete r b; row.put r a,c", "delete r[b]; put r[a c]"},
		{"columns that later ones name together", "row.put r a,b; row.put r a; row.expire r b", "put r[a]; expire r[b]"},
		{"a row's end is kept", "row.put r a; row.delete_row r; row.put r b", "delete_row r; put r[b]"},
		{"and a later one says it all", "row.delete_row r; row.put r a; row.delete_row r", "delete_row r"},
		{"another row's end", "row.put r a; row.delete_row s; row.put r a", "delete_row s; put r[a]"},
	} {
		w := window{maxEvents: 100, latestPerKey: true}
		for i, s := range strings.Split(c.in, ";") {
			ch := changeOf(t, s, uint64(i+2))
			w.add(eventOf(ch), placeBefore(ch), time.Now())
		}
		w.coalesce()
		var got []string
		for i, e := range w.entries {
			got = append(got, word(e.event))
			if i > 0 && w.entries[i-1].event.Lsn >= e.event.Lsn {
				t.Errorf("%s: out of order", c.name)
			}
		}
		if s := strings.Join(got, "; "); s != c.out {
			t.Errorf("%s:\n got %s\nwant %s", c.name, s, c.out)
		}
		if w.unsent != len(w.entries) {
			t.Errorf("%s: %d unsent of %d", c.name, w.unsent, len(w.entries))
		}
	}
}

// Until the last event of a key is settled the cursor stays before the first that it
// speaks for: were the history cut between them, the first would be owed.
func TestCoalesceHoldsTheCursor(t *testing.T) {
	w := window{maxEvents: 100, latestPerKey: true}
	for i, s := range []string{"kv.put a", "kv.put b", "kv.put a"} {
		c := changeOf(t, s, uint64(i+2))
		w.add(eventOf(c), placeBefore(c), time.Now())
	}
	w.coalesce()
	if p := w.oldest(); p.lsn != 1 {
		t.Errorf("the cursor is at LSN %d", p.lsn)
	}
	w.sent()
	w.settle(func(i int) bool { return i == 1 })
	if p := w.oldest(); p.lsn != 2 {
		t.Errorf("then the cursor is at LSN %d", p.lsn)
	}
}

// What was sent stays as it is, however long it waits.
func TestCoalesceLeavesWhatWasSent(t *testing.T) {
	w := window{maxEvents: 100, latestPerKey: true}
	for i := range 4 {
		c := changeOf(t, "kv.put a", uint64(i+2))
		w.add(eventOf(c), placeBefore(c), time.Now())
		if i == 0 {
			w.sent()
		}
	}
	w.coalesce()
	if len(w.entries) != 2 || w.entries[0].event.Lsn != 2 || w.entries[1].event.Lsn != 5 {
		t.Errorf("%d entries", len(w.entries))
	}
}

// Writes of the same few keys don't fill the window, nor keep it from being sent.
func TestHotKeysDoNotFillTheWindow(t *testing.T) {
	w := window{maxEvents: 100, latestPerKey: true}
	n := 0
	for ; !w.full(); n++ {
		c := changeOf(t, fmt.Sprintf("kv.put k%d", n%7), uint64(n+2))
		w.add(eventOf(c), placeBefore(c), time.Now())
	}
	if w.coalesce(); n < 1500 || n > 1700 || len(w.entries) != 7 {
		t.Errorf("full after %d events, with %d entries", n, len(w.entries))
	}
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		f    Filter
		in   string
		pass bool
	}{
		{Filter{}, "kv.put a", true},
		{Filter{Prefix: []byte("a")}, "kv.put ab", true},
		{Filter{Prefix: []byte("ab")}, "kv.put a", false},
		{Filter{Prefix: []byte("r")}, "row.delete_row r1", true},
		{Filter{Prefix: []byte("r2")}, "row.delete_row r1", false},
		{Filter{Operations: []string{"put", "delete"}}, "kv.delete a", true},
		{Filter{Operations: []string{"put", "delete"}}, "row.delete_row a", false},
		{Filter{EntryTypes: []string{"vector"}}, "vector.put a", true},
		{Filter{EntryTypes: []string{"vector"}}, "kv.put a", false},
	} {
		if got := c.f.passes(changeOf(t, c.in, 2)); got != c.pass {
			t.Errorf("%+v lets %s pass: %v", c.f, c.in, got)
		}
	}
	if err := (Filter{Operations: []string{"puts"}}).validate(); err == nil {
		t.Error("an unknown operation is accepted")
	}
}

func TestBackoff(t *testing.T) {
	for i := range 100 {
		if d := backoff(i, 0); d < minWait*3/4 || d > topWait*5/4 {
			t.Errorf("after %d failures: %v", i, d)
		}
		if d := backoff(i, time.Hour); d != time.Hour {
			t.Errorf("asked for an hour, waits %v", d)
		}
	}
}
