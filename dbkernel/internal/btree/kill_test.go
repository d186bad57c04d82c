package btree

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func init() { children["update"] = childUpdate }

const (
	childEngine = "BTREE_TEST_ENGINE"
	childDir    = "BTREE_TEST_DIR"
)

// killStep is update n of the child: which keys it writes, deletes, and with what
// follows from n alone, so that the parent knows each state.
func killStep(n int) []Edit {
	edits := map[string]Edit{"\x00number": {Value: []byte(strconv.Itoa(n))}}
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	for range 1 + rng.IntN(200) {
		k := fmt.Sprintf("key-%05d", rng.IntN(2000))
		edits[k] = Edit{Value: []byte(strings.Repeat(string(rune('a'+n%26)), rng.IntN(6000))), Delete: rng.IntN(5) == 0}
	}
	list := make([]Edit, 0, len(edits))
	for _, k := range sortedKeys(edits) {
		e := edits[k]
		e.Key = []byte(k)
		list = append(list, e)
	}
	return list
}

func sortedKeys(m map[string]Edit) []string {
	keys := model{}
	for k := range m {
		keys[k] = ""
	}
	return keys.keys()
}

// childUpdate goes on where the tree is, and says so after each commit.
func childUpdate() {
	tree, err := Open(Options{Engine: os.Getenv(childEngine), Dir: os.Getenv(childDir), MapSize: 1 << 16})
	must(err)
	s, err := tree.Snapshot()
	must(err)
	v, _, err := s.Get([]byte("\x00number"))
	must(err)
	s.Release()
	n, _ := strconv.Atoi(string(v)) // 0 where there is none yet
	for {
		n++
		must(tree.Update(func(tx Tx) error { return tx.Apply(killStep(n), nil) }))
		fmt.Println(n)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// TestKill kills a process at random while it updates: the last acknowledged
// commit is there, the tree is whole, and the next process goes on.
func TestKill(t *testing.T) {
	forFileEngines(t, func(t *testing.T, e engine, _ string) {
		seed := uint64(1)
		if duration(t) > 0 {
			seed = rand.Uint64()
		}
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		want, at := model{}, 0
		end := time.Now().Add(duration(t))
		for kills := 0; kills < 3 || time.Now().Before(end); kills++ {
			acknowledged := max(at, runAndKill(t, e, rng))
			tree := e.open(t)
			s := snapshot(t, tree)
			n, err := strconv.Atoi(strings.TrimPrefix(get(t, s, "\x00number"), "="))
			if err != nil || n < acknowledged {
				t.Fatalf("kill %d: the tree is at %d, acknowledged was %d (%v)", kills, n, acknowledged, err)
			}
			for at < n {
				at++
				for _, e := range killStep(at) {
					if e.Delete {
						delete(want, string(e.Key))
					} else {
						want[string(e.Key)] = string(e.Value)
					}
				}
			}
			want.check(t, s)
			s.Release()
			if err := tree.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d updates", at)
	})
}

// runAndKill starts a child, kills it some time after its first commit, and
// returns the last one that it acknowledged.
func runAndKill(t *testing.T, e engine, rng *rand.Rand) (acknowledged int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"=update", childEngine+"="+e.name, childDir+"="+e.o.Dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := make(chan error, 1)
	var timer *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
			t.Errorf("child: %q", lines.Text())
		}
		if timer == nil {
			timer = time.AfterFunc(time.Duration(rng.IntN(int(150*time.Millisecond))), func() { killed <- cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // killed
	if timer == nil {
		t.Fatal("the child ended before its first commit")
	}
	if err := errors.Join(<-killed, lines.Err()); err != nil {
		t.Fatalf("child: %v", err)
	}
	return acknowledged
}
