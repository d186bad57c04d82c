package btree

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// duration is how long a long test runs: DURATION, or 0 in the short form.
func duration(t testing.TB) time.Duration {
	t.Helper()
	s := os.Getenv("DURATION")
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("DURATION: %v", err)
	}
	return d
}

// seeds calls fn with a fixed seed, or for DURATION with new ones.
func seeds(t *testing.T, fn func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	end := time.Now().Add(duration(t))
	for seed := uint64(1); ; seed++ {
		if duration(t) > 0 {
			seed = rand.Uint64()
		}
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { fn(t, rand.New(rand.NewPCG(seed, 0))) })
		if !ok || !time.Now().Before(end) {
			return
		}
	}
}

// randomKey draws from few keys, so that operations meet: of all lengths, with
// shared beginnings.
func randomKey(rng *rand.Rand) string {
	n := rng.IntN(400)
	switch n % 5 {
	case 0:
		return fmt.Sprintf("%c", n)
	case 1:
		return strings.Repeat("p", n) + "\x00"
	case 2:
		return strings.Repeat("\xff", 1+n%60)
	default:
		return fmt.Sprintf("key-%04d", n)
	}
}

func randomValue(rng *rand.Rand) string {
	n := rng.IntN(200)
	switch rng.IntN(20) {
	case 0:
		n = rng.IntN(100_000)
	case 1, 2, 3:
		n = rng.IntN(5000)
	}
	return strings.Repeat(string(rune('a'+rng.IntN(26))), n)
}

// TestAgainstAMap runs random updates, some of which fail, and compares
// everything that can be read with a map.
func TestAgainstAMap(t *testing.T) {
	forEngines(t, func(t *testing.T, e engine) {
		seeds(t, func(t *testing.T, rng *rand.Rand) {
			e := newEngine(t, e.name)
			e.o.MapSize = 1 << 16
			tree := e.open(t)
			committed := model{}
			for step := range 80 {
				working := maps.Clone(committed)
				abort := rng.IntN(6) == 0
				err := tree.Update(func(tx Tx) error {
					working = maps.Clone(committed) // it may be run again
					for range 1 + rng.IntN(8) {
						if err := randomStep(t, rng, tx, working); err != nil {
							return err
						}
					}
					if abort {
						return errAborted
					}
					return nil
				})
				if abort != errors.Is(err, errAborted) || !abort && err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
				if !abort {
					committed = working
				}
				s := snapshot(t, tree)
				committed.check(t, s)
				for range 20 {
					probe(t, rng, s, committed)
				}
				s.Release()
				if rng.IntN(15) == 0 {
					if err := tree.Close(); err != nil {
						t.Fatal(err)
					}
					tree = e.open(t)
				}
			}
			st, err := tree.Stats()
			if err != nil || st.Keys != uint64(len(committed)) {
				t.Errorf("stats %+v, %v; expected %d keys", st, err, len(committed))
			}
			if err := tree.Close(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

var errAborted = errors.New("aborted")

func randomStep(t *testing.T, rng *rand.Rand, tx Tx, m model) error {
	switch rng.IntN(5) {
	case 0:
		k, v := randomKey(rng), randomValue(rng)
		m[k] = v
		return tx.Put([]byte(k), []byte(v))
	case 1:
		k := randomKey(rng)
		delete(m, k)
		return tx.Delete([]byte(k))
	case 2:
		probe(t, rng, tx, m)
		return nil
	default:
		return randomApply(t, rng, tx, m)
	}
}

func randomApply(t *testing.T, rng *rand.Rand, tx Tx, m model) error {
	edits := map[string]Edit{}
	for range rng.IntN(600) {
		k := randomKey(rng)
		if rng.IntN(8) == 0 {
			k = "zz" + k // behind the rest, to be appended
		}
		edits[k] = Edit{Key: []byte(k), Value: []byte(randomValue(rng)), Delete: rng.IntN(4) == 0}
	}
	list := slices.SortedFunc(maps.Values(edits), func(a, b Edit) int { return bytes.Compare(a.Key, b.Key) })
	before := maps.Clone(m)
	err := tx.Apply(list, func(i int, head []byte, n int) error {
		v, was := before[string(list[i].Key)]
		if (head != nil) != was || n != len(v) || string(head) != v[:min(len(v), HeadLen)] {
			return fmt.Errorf("old value of %q: head %q, length %d, expected %d", list[i].Key, head, n, len(v))
		}
		return nil
	})
	for _, e := range list {
		if e.Delete {
			delete(m, string(e.Key))
		} else {
			m[string(e.Key)] = string(e.Value)
		}
	}
	return err
}

// probe compares a get and a short walk from a random place.
func probe(t *testing.T, rng *rand.Rand, r Reader, m model) {
	t.Helper()
	k := randomKey(rng)
	want := "absent"
	if v, ok := m[k]; ok {
		want = "=" + v
	}
	if got := get(t, r, k); got != want {
		t.Fatalf("get %q: %.40q, expected %.40q", k, got, want)
	}
	c, err := r.Cursor()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	keys := m.keys()
	at, _ := slices.BinarySearch(keys, k)
	var ok bool
	if rng.IntN(2) == 0 {
		ok = c.Seek([]byte(k))
	} else {
		ok = c.SeekBefore([]byte(k))
		at--
	}
	for range rng.IntN(60) {
		inside := at >= 0 && at < len(keys)
		if ok != inside || ok && (string(c.Key()) != keys[at] || string(c.Value()) != m[keys[at]]) {
			t.Fatalf("walk from %q: %t at %.40q, expected %t", k, ok, c.Key(), inside)
		}
		if !ok {
			break
		}
		if rng.IntN(3) == 0 {
			ok = c.Prev()
			at--
		} else {
			ok = c.Next()
			at++
		}
	}
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
}
