package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// The main job on real input: real binaries, a hub and two hops of relayers,
// rows from iso-codes, keys from wamerican, large objects from Go's own source.

const (
	isoDir    = "/usr/share/iso-codes/json"
	wordsFile = "/usr/share/dict/american-english"
	bigFile   = 64 << 10 // Go's source files above this are the large objects

	patience = 2 * time.Minute // for anything that is waited for
)

// TestRealInput loads all of it while hub and relayers are killed at random
// points, and reads everything back, byte for byte, from all three nodes.
func TestRealInput(t *testing.T) {
	input := readRealInput(t)
	chain := startChain(t, buildBinary(t))
	seed := seedFromEnv(t)
	rng := rand.New(rand.NewPCG(seed, 1))

	work := input.operations()
	rng.Shuffle(len(work), func(i, j int) { work[i], work[j] = work[j], work[i] })
	kills := chain.killsDuring(len(work), rng)

	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	var next, acknowledged atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(work); i = next.Add(1) - 1 {
				if err := until(ctx, func() error { return work[i](ctx, chain.hub.client) }); err != nil {
					t.Errorf("operation %d: %v", i, err)
					return
				}
				done := int(acknowledged.Add(1))
				if n := kills[done]; n != nil {
					t.Logf("after %d of %d operations: killing %s", done, len(work), n.name)
					n.kill()
					n.start()
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	last := map[string]client.Position{}
	for _, ns := range namespaces {
		err := until(ctx, func() (err error) {
			last[ns], err = chain.hub.client.In(ns).KV().Put(ctx, []byte("the end"), nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range chain.all() {
		t.Run(n.name, func(t *testing.T) { input.check(ctx, t, n.client, last) })
	}
}

func seedFromEnv(t *testing.T) uint64 {
	seed := uint64(1)
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED=%s: %v", s, err)
		}
	}
	t.Logf("SEED=%d", seed)
	return seed
}

// realInput is what is loaded.
type realInput struct {
	rows    []client.RowColumns
	words   [][]byte
	objects []string // paths
}

var namespaces = []string{"iso", "words", "source"}

func readRealInput(t *testing.T) realInput {
	t.Helper()
	var in realInput
	files, err := filepath.Glob(filepath.Join(isoDir, "iso_*.json"))
	if err != nil || len(files) == 0 {
		t.Skipf("needs Debian's package iso-codes: make bootstrap (%v)", err)
	}
	for _, file := range files {
		in.rows = append(in.rows, isoRows(t, file)...)
	}
	words, err := os.ReadFile(wordsFile)
	if err != nil {
		t.Skipf("needs Debian's package wamerican: make bootstrap (%v)", err)
	}
	in.words = bytes.Split(bytes.TrimSpace(words), []byte("\n"))
	err = filepath.WalkDir(filepath.Join(goroot(t), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil {
			return err
		} else if info.Size() > bigFile {
			in.objects = append(in.objects, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows, %d words, %d objects", len(in.rows), len(in.words), len(in.objects))
	return in
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// isoRows makes a row of each entry of a file, with a column for each field.
func isoRows(t *testing.T, file string) (rows []client.RowColumns) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var standards map[string][]map[string]json.RawMessage
	if err := json.Unmarshal(b, &standards); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for standard, entries := range standards {
		for i, entry := range entries {
			row := client.RowColumns{Key: fmt.Appendf(nil, "%s/%05d", standard, i), Columns: map[string][]byte{}}
			for field, value := range entry {
				row.Columns[field] = value
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// wordValue is what is stored under a word.
func wordValue(i int, word []byte) []byte { return fmt.Appendf(nil, "%d %s", i, word) }

const perBatch = 200

// operations are the writes, in batches.
func (in realInput) operations() (ops []func(context.Context, *client.Client) error) {
	for at := 0; at < len(in.rows); at += perBatch {
		rows := in.rows[at:min(at+perBatch, len(in.rows))]
		ops = append(ops, func(ctx context.Context, c *client.Client) error {
			_, err := c.In("iso").Rows().PutAll(ctx, rows)
			return err
		})
	}
	for at := 0; at < len(in.words); at += perBatch {
		ops = append(ops, func(ctx context.Context, c *client.Client) error {
			var items []client.KeyValue
			for i, word := range in.words[at:min(at+perBatch, len(in.words))] {
				items = append(items, client.KeyValue{Key: word, Value: wordValue(at+i, word)})
			}
			_, err := c.In("words").KV().PutAll(ctx, items)
			return err
		})
	}
	for _, path := range in.objects {
		ops = append(ops, func(ctx context.Context, c *client.Client) error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			_, err = c.In("source").Objects().Put(ctx, []byte(path), f, info.Size())
			return err
		})
	}
	return ops
}

// check reads everything back from a node that has seen the last writes.
func (in realInput) check(ctx context.Context, t *testing.T, c *client.Client, last map[string]client.Position) {
	for _, ns := range namespaces {
		if _, err := c.In(ns).KV().Get(ctx, []byte("the end"), client.AtLeast(last[ns]), client.Wait(patience)); err != nil {
			t.Fatalf("waiting for namespace %s: %v", ns, err)
		}
	}
	in.checkRows(ctx, t, c)
	for at := 0; at < len(in.words); at += perBatch {
		keys := in.words[at:min(at+perBatch, len(in.words))]
		got, _, err := c.In("words").KV().GetAll(ctx, keys)
		if err != nil {
			t.Fatal(err)
		}
		for i, found := range got {
			if want := wordValue(at+i, keys[i]); !found.Found || !bytes.Equal(found.Value, want) {
				t.Fatalf("word %q is %q (found %v), expected %q", keys[i], found.Value, found.Found, want)
			}
		}
	}
	for _, path := range in.objects {
		in.checkObject(ctx, t, c, path)
	}
}

func (in realInput) checkRows(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	stored := map[string]map[string][]byte{}
	for row, err := range c.In("iso").Rows().List(ctx, client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		stored[string(row.Key)] = row.Columns
	}
	if len(stored) != len(in.rows) {
		t.Fatalf("%d rows are stored, expected %d", len(stored), len(in.rows))
	}
	for _, row := range in.rows {
		got := stored[string(row.Key)]
		if len(got) != len(row.Columns) {
			t.Fatalf("row %s has columns %q, expected %q", row.Key, got, row.Columns)
		}
		for name, value := range row.Columns {
			if !bytes.Equal(got[name], value) {
				t.Fatalf("row %s, column %s is %q, expected %q", row.Key, name, got[name], value)
			}
		}
	}
}

func (in realInput) checkObject(ctx context.Context, t *testing.T, c *client.Client, path string) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.In("source").Objects().Get(ctx, []byte(path))
	if err != nil {
		t.Fatalf("object %s: %v", path, err)
	}
	defer func() { _ = r.Close() }()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("object %s: %d bytes, %v; expected %d", path, len(got), err, len(want))
	}
}

// built is the folder of the program that all tests share; TestMain removes it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// buildBinary builds the program as a user gets it, once for all tests.
func buildBinary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "unisondb-test-"); built.err == nil {
			built.err = goBuild(filepath.Join(built.dir, "unisondb"), ".")
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "unisondb")
}

// goBuild builds programs; a path that ends in a separator is a folder for them.
func goBuild(path string, packages ...string) error {
	if out, err := exec.Command("go", append([]string{"build", "-o", path}, packages...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("building %v: %w\n%s", packages, err, out)
	}
	return nil
}

// chain is a hub, a relayer of it, and a relayer of that.
type chain struct {
	t               *testing.T
	hub, first, end *process
}

func (c *chain) all() []*process { return []*process{c.hub, c.first, c.end} }

func startChain(t *testing.T, binary string) *chain {
	t.Helper()
	var names, blocks []string
	for _, ns := range namespaces {
		names = append(names, strconv.Quote(ns))
		blocks = append(blocks, fmt.Sprintf("namespace %q {}\n", ns))
	}
	follow := func(upstream *process) string {
		return fmt.Sprintf("relayer {\n  upstream \"up\" {\n    addresses = [%q]\n    namespaces = [%s]\n  }\n}\n", upstream.grpc, strings.Join(names, ", "))
	}
	c := &chain{t: t}
	c.hub = newProcess(t, binary, "hub", "server", strings.Join(blocks, ""))
	c.first = newProcess(t, binary, "relayer", "relayer", follow(c.hub))
	c.end = newProcess(t, binary, "relayer-of-relayer", "relayer", follow(c.first))
	for _, n := range c.all() {
		n.start()
	}
	return c
}

// killsDuring chooses after which acknowledged operations which node is killed:
// each of them three times, at random points.
func (c *chain) killsDuring(operations int, rng *rand.Rand) map[int]*process {
	kills := map[int]*process{}
	for _, n := range c.all() {
		for hits := 0; hits < 3; {
			if at := 1 + rng.IntN(operations-1); kills[at] == nil {
				kills[at] = n
				hits++
			}
		}
	}
	return kills
}

// until repeats what fails while a node is down. What fails for another reason
// fails for good.
func until(ctx context.Context, op func() error) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		if last = op(); last == nil {
			return true, nil
		}
		var answer *client.Error
		if errors.As(last, &answer) && answer.Status < 500 {
			return false, last
		}
		return false, nil
	})
	return errors.Join(err, last)
}

// poll asks again every 10 ms until done, an error, or the context's end.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// process is a node that can be killed and started again on its own files.
type process struct {
	t            *testing.T
	name         string
	grpc         string
	config       string
	binary, role string
	client       *client.Client
	launch       func(*exec.Cmd) error // instead of (*exec.Cmd).Start; nil: none

	mu  sync.Mutex
	cmd *exec.Cmd
}

func newProcess(t *testing.T, binary, name, role, blocks string) *process {
	t.Helper()
	dir := t.TempDir()
	http, grpc := freeAddress(t), freeAddress(t)
	config := fmt.Sprintf("node_id = %q\ndata_dir = %q\nlistener \"http\" { address = %q }\nlistener \"grpc\" { address = %q }\n%s",
		name, filepath.Join(dir, "data"), http, grpc, blocks)
	path := filepath.Join(dir, "node.hcl")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Address: "http://" + http})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, grpc: grpc, config: path, binary: binary, role: role, client: c}
	t.Cleanup(func() {
		c.Close()
		p.kill()
	})
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// start runs the node and waits until it answers.
func (p *process) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = exec.Command(p.binary, p.role, "-config", p.config)
	p.cmd.SysProcAttr = dieWithParent()
	var stderr lockedBuffer
	p.cmd.Stderr = &stderr
	launch := (*exec.Cmd).Start
	if p.launch != nil {
		launch = p.launch
	}
	if err := launch(p.cmd); err != nil {
		p.t.Fatalf("starting %s: %v", p.name, err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	err := poll(ctx, func() (bool, error) {
		_, err := p.client.Health(ctx)
		return err == nil, nil
	})
	if err != nil {
		p.t.Errorf("%s doesn't answer: %v\n%s", p.name, err, stderr.String())
	}
}

// kill ends the node with SIGKILL and waits until it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("killing %s: %v", p.name, err)
	}
	_ = p.cmd.Wait() // it ends by the signal
	p.cmd = nil
}

// lockedBuffer keeps what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
