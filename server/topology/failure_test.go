package topology

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// TestRestartOfAll: hubs that all were killed have everything again, and each knows what it knew
// before it has met the others.
func TestRestartOfAll(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, nil)
	leader := f.awaitLeader()
	index, err := leader.Propose(within(t), someNamespace("a"))
	if err != nil {
		t.Fatal(err)
	}
	f.converge()
	for _, h := range f.hubs {
		h.kill()
	}
	h := f.hubs["hub-2"].start()
	if s := h.State(); s.Index < index || s.Namespaces["a"] == nil || len(s.Hubs) != 3 {
		t.Errorf("alone it knows %+v", s)
	}
	if f := h.Freshness(); f.Leader != "" || f.IsLeader || f.LastContact >= 0 {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := h.Sync(ctx); !errors.Is(err, ErrNoLeader) {
		t.Errorf("a read without a leader: %v", err)
	}
	if _, err := h.Propose(ctx, someNamespace("b")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("a change without a leader: %v", err)
	}
	f.hubs["hub-1"].start()
	f.hubs["hub-3"].start()
	f.awaitVoters(3)
	if _, err := h.Propose(within(t), someNamespace("b")); err != nil {
		t.Fatal(err)
	}
	f.converge()
}

// TestLeaderKilled: what was acknowledged is there after the leader is gone, whoever was asked; what
// wasn't is either there or not, and nothing is there twice.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, nil)
	leader := f.awaitLeader()
	var survivors []*hub
	for _, h := range f.hubs {
		if h != leader {
			survivors = append(survivors, h)
		}
	}
	var mu sync.Mutex
	made := map[string]bool{}
	enough := make(chan struct{})
	ctx, cancel := context.WithCancel(within(t))
	var wg sync.WaitGroup
	for n, h := range survivors {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("ns-%d-%d", n, i)
				_, err := h.Propose(ctx, someNamespace(name))
				switch {
				case err == nil:
					mu.Lock()
					if made[name] = true; len(made) == 20 {
						close(enough)
					}
					mu.Unlock()
				case CodeOf(err) != "":
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	<-enough
	leader.kill()
	mu.Lock()
	before := len(made)
	mu.Unlock()
	await(t, "changes are made again", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(made) > before+20
	})
	cancel()
	wg.Wait()
	for _, h := range survivors {
		s, err := h.Sync(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for name := range made {
			if s.Namespaces[name] == nil {
				t.Errorf("%s has lost %s", h.NodeID, name)
			}
		}
	}
	leader.start()
	f.awaitVoters(3)
	f.converge()
}

// TestStopHandsOver: a leader that stops in peace is followed by another at once, and a
// transfer goes to whom it names.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, func(o *Options) { // an election would take an hour
		o.Timeouts.Heartbeat, o.Timeouts.Election, o.Timeouts.Lease = time.Hour, time.Hour, time.Hour
	})
	for _, to := range []string{"hub-2", "hub-3", "hub-1", "hub-1", ""} {
		before := f.awaitLeader().NodeID
		if err := f.hubs["hub-2"].TransferLeader(within(t), to); err != nil {
			t.Fatalf("to %q: %v", to, err)
		}
		await(t, "it leads", func() bool {
			l := f.leader()
			return l != nil && (l.NodeID == to || to == "" && l.NodeID != before)
		})
	}
	leader := f.awaitLeader()
	if err := leader.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	f.x.set(leader.GRPC, nil)
	leader.Group = nil
	next := f.awaitLeader()
	if _, err := next.Propose(within(t), someNamespace("a")); err != nil {
		t.Error(err)
	}
}

// TestRecover: of three hubs two are lost for good; the third goes on, and new ones join it.
func TestRecover(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, nil)
	if _, err := f.hubs["hub-2"].Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	f.converge()
	h := f.hubs["hub-3"]
	running := RecoverOptions{Dir: h.Dir, Peers: []Peer{{ID: "hub-3"}}, Now: time.Unix(1e9, 0)}
	if _, err := Recover(running); err == nil || !strings.Contains(err.Error(), "stop the hub") {
		t.Errorf("while it runs: %v", err)
	}
	for _, h := range f.hubs {
		h.kill()
	}
	files := listing(t, h.Dir)
	for name, tt := range map[string]struct {
		peers []Peer
		dir   string
		want  string
	}{
		"nobody":     {nil, h.Dir, "isn't among the peers"},
		"others":     {[]Peer{{ID: "hub-1"}}, h.Dir, "isn't among the peers"},
		"unknown":    {[]Peer{{ID: "hub-3"}, {ID: "hub-9", Address: "127.0.0.1:9"}}, h.Dir, `no hub "hub-9"`},
		"twice":      {[]Peer{{ID: "hub-3"}, {ID: "hub-3"}}, h.Dir, "twice"},
		"no vote":    {[]Peer{{ID: "hub-3", NonVoter: true}}, h.Dir, "vote"},
		"no address": {[]Peer{{ID: "hub-3", Address: "here"}}, h.Dir, "host:port"},
		"no dir":     {[]Peer{{ID: "hub-3"}}, filepath.Join(h.Dir, "nothing"), "holds no control plane"},
	} {
		if _, err := Recover(RecoverOptions{Dir: tt.dir, Peers: tt.peers, Now: running.Now}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now := listing(t, h.Dir); now != files {
		t.Errorf("refusals have changed files:\n%s\n%s", files, now)
	}
	backup, err := Recover(running)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(backup, logName)); err != nil || len(b) == 0 {
		t.Errorf("the copy of what was there: %v", err)
	}
	h.start()
	s, err := h.Sync(within(t))
	if err != nil || s.Namespaces["a"] == nil || len(s.Hubs) != 1 || h.voters() != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, id := range []string{"hub-1", "hub-2"} {
		o := f.hubs[id]
		o.wipe()
		o.Options.Join = []string{h.GRPC}
		o.start()
	}
	f.awaitVoters(3)
	f.converge()
}

// listing is what a directory holds.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		fmt.Fprintf(&b, "%s %x\n", name, crcOf(nil, content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSnapshots: an operator's snapshot brings back what was there; another group's needs force.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(3, nil)
	h := f.other()
	if _, err := h.Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	if err := h.SaveSnapshot(within(t), &saved); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Command{someNamespace("b"), DeleteNamespace{Name: "a", At: time.Unix(2, 0).UTC(), Grace: time.Hour}} {
		if _, err := h.Propose(within(t), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.RestoreSnapshot(within(t), bytes.NewReader(saved.Bytes()), false); err != nil {
		t.Fatal(err)
	}
	for id, o := range f.hubs {
		s, err := o.Sync(within(t))
		if err != nil || s.Namespaces["a"] == nil || s.Namespaces["b"] != nil || len(s.Hubs) != 3 {
			t.Errorf("%s: %+v, %v", id, s, err)
		}
	}

	strange := f.add("stranger", nil).start()
	var theirs bytes.Buffer
	if err := strange.SaveSnapshot(within(t), &theirs); err != nil {
		t.Fatal(err)
	}
	before := content(t, h.State())
	for name, tt := range map[string]struct {
		b    []byte
		code string
	}{
		"another group's": {theirs.Bytes(), CodeOtherCluster},
		"a newer format":  {newerFormat(saved.Bytes()), CodeNewerFormat},
		"damaged":         {flipped(saved.Bytes()), CodeDamagedSnapshot},
		"no snapshot":     {[]byte("hello"), CodeDamagedSnapshot},
		"too long":        {longSnapshot(t, h.State()), CodeTooLarge}, // to be passed on to the leader
	} {
		if err := h.RestoreSnapshot(within(t), bytes.NewReader(tt.b), false); CodeOf(err) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.Sync(within(t)); err != nil {
		t.Fatal(err)
	}
	if now := content(t, h.State()); now != before {
		t.Errorf("refusals have changed the state:\n%s\n%s", before, now)
	}
}

// longSnapshot is of a state with so many relayers that it takes megabytes.
func longSnapshot(t *testing.T, s *State) []byte {
	t.Helper()
	long := *s
	long.Relayers = map[string]*Relayer{}
	for i := range 40_000 {
		id := fmt.Sprintf("relayer-%d", i)
		long.Relayers[id] = &Relayer{ID: id, Instance: "0123456789abcdef0123456789abcdef"}
	}
	var b bytes.Buffer
	if err := long.writeSnapshot(&b, "test"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-2] ^= 1
	return b
}

// newerFormat is a snapshot whose header says that it is of a newer version.
func newerFormat(b []byte) []byte {
	b = bytes.Clone(b)
	b[8] = 99
	return b
}

// TestUnreadableCommand: a hub that meets a command of a newer build takes no further part, says
// why, keeps what it has, and says so again after a restart.
func TestUnreadableCommand(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	f.group(1, nil)
	h := f.hubs["hub-1"]
	if _, err := h.Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.enqueue(within(t), []byte{0xff, 0x7f, 0, '{', '}'}); CodeOf(err) != CodeMemberCannotRead {
		t.Errorf("it proposes what it can't read: %v", err)
	}
	if err := h.raft.Apply([]byte{0xff, 0x7f, flagIgnorable, '{', '}'}, 0).Error(); err != nil {
		t.Fatal(err)
	}
	if p := h.Freshness().Problem; p != "" {
		t.Errorf("after a command that may be skipped: %s", p)
	}
	h.raft.Apply([]byte{0xff, 0x7f, 0, '{', '}'}, 0)
	for range 2 {
		await(t, "it stops", func() bool { return h.Freshness().Problem != "" && isClosed(h.down) })
		if p := h.Freshness().Problem; !strings.Contains(p, "upgrade this hub") {
			t.Error(p)
		}
		if h.State().Namespaces["a"] == nil {
			t.Error("it has lost its state")
		}
		if _, err := h.Propose(within(t), someNamespace("b")); !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "upgrade this hub") {
			t.Errorf("%v", err)
		}
		h.kill()
		h.start()
	}
}

// TestOlderBuild: a hub whose disk has a command that a newer build took starts, keeps what it knew before
// that, and takes no part.
func TestOlderBuild(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	h := f.add("hub-1", func(o *Options) { o.Address = "" }).start()
	if _, err := h.Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	h.kill()
	d, err := openDiskLog(filepath.Join(h.Dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	last, err := d.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	newer := &raft.Log{Index: last + 1, Term: 2, Data: []byte{0xff, 0x7f, 0, '{', '}'}}
	if err := errors.Join(d.StoreLog(newer), d.SetUint64(keyApplied, last+1), d.Close()); err != nil {
		t.Fatal(err)
	}
	h.start()
	if p := h.Freshness().Problem; !strings.Contains(p, "upgrade this hub") {
		t.Errorf("%q", p)
	}
	if h.State().Namespaces["a"] == nil {
		t.Error("it has lost its state")
	}
	// Raft's own state may be that of an election which ended late.
	await(t, "it takes no part", func() bool { return isClosed(h.down) })
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestOthersFiles: a directory of another hub, of a newer version, or in use is refused in words, and
// nothing in it changes.
func TestOthersFiles(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	h := f.add("hub-1", func(o *Options) { o.Address, o.SnapshotThreshold = "", 4 }).start()
	if _, err := h.Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), h.Options); err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("started twice: %v", err)
	}
	if err := h.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	h.kill()
	for name, tt := range map[string]struct {
		change  func(o *Options)
		file    string // below the directory
		content func([]byte) []byte
		want    string
	}{
		"another hub":      {func(o *Options) { o.NodeID = "hub-2" }, "", nil, `directory of hub "hub-1"`},
		"another instance": {func(o *Options) { o.InstanceID = "2" }, "", nil, "move it away"},
		"a newer version": {nil, identityName, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":9`), 1)
		}, "version 9"},
		"damaged":          {nil, identityName, func([]byte) []byte { return []byte("{") }, "damaged"},
		"a newer snapshot": {nil, filepath.Join(snapshotsDir, "*", "state.bin"), newerFormat, "upgrade"},
	} {
		t.Run(name, func(t *testing.T) {
			o := h.Options
			if tt.change != nil {
				tt.change(&o)
			}
			if tt.file != "" {
				defer edit(t, filepath.Join(h.Dir, tt.file), tt.content)()
			}
			before := listing(t, h.Dir)
			if g, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v", g, err)
			}
			if now := listing(t, h.Dir); now != before {
				t.Errorf("files have changed:\n%s\n%s", before, now)
			}
		})
	}
	h.start()
	if _, err := h.Sync(within(t)); err != nil {
		t.Error(err)
	}
}

// edit changes a file, and answers how to take that back.
func edit(t *testing.T, pattern string, change func([]byte) []byte) func() {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		t.Fatalf("no file is %s: %v", pattern, err)
	}
	name := all[len(all)-1]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Error(err)
		}
	}
	put(change(bytes.Clone(b)))
	return func() { put(b) }
}

// TestOptionsThatCannotWork are refused in words, before anything is made.
func TestOptionsThatCannotWork(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"join without address":   {func(o *Options) { o.Address, o.Join = "", []string{"x"} }, "address"},
		"join without gRPC":      {func(o *Options) { o.GRPC, o.Join = "", []string{"x"} }, "gRPC"},
		"wildcard":               {func(o *Options) { o.Address = "0.0.0.0:4002" }, "advertise"},
		"no port":                {func(o *Options) { o.Address = "host" }, "host:port"},
		"expect without join":    {func(o *Options) { o.BootstrapExpect = 3 }, "join names none"},
		"expect without a vote":  {func(o *Options) { o.BootstrapExpect, o.Join, o.Voter = 3, []string{"x"}, false }, "voter = false"},
		"begins without a vote":  {func(o *Options) { o.Voter = false }, "voter"},
		"without an instance id": {func(o *Options) { o.InstanceID = "" }, "instance id"},
		"without a directory":    {func(o *Options) { o.Dir = "" }, "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTCPHubs(t)
			h := f.add("hub-1", tt.change)
			if g, err := Start(t.Context(), h.Options); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v", g, err)
			}
			if _, err := os.Stat(h.Dir); h.Dir != "" && err == nil {
				t.Error("a directory was made")
			}
		})
	}
}

// TestFuturesEnd: what is waited for ends with Raft. It fails where Raft's futures have changed.
func TestFuturesEnd(t *testing.T) {
	f := newTCPHubs(t)
	h := f.add("hub-1", func(o *Options) { o.Address = "" }).start()
	if _, err := h.Sync(within(t)); err != nil {
		t.Fatal(err)
	}
	for _, future := range []raft.Future{
		h.raft.AddVoter(h.id, h.address(), 0, 0), h.raft.VerifyLeader(), h.raft.Barrier(0),
		h.raft.Apply(nil, 0), // the last: it can't be read, so that Raft ends
	} {
		if !endWith(future, make(chan struct{})) {
			t.Errorf("%T can't be ended", future)
		}
	}
}

// standing is a Raft that comes no further by itself.
type standing struct{ applied, term uint64 }

func (s *standing) AppliedIndex() uint64 { return s.applied }
func (s *standing) CurrentTerm() uint64  { return s.term }
func (s *standing) LastIndex() uint64    { return s.applied }

// TestSnapshotFromThePast: a snapshot that is older than what a hub has is answered, and not installed.
func TestSnapshotFromThePast(t *testing.T) {
	_, far := raft.NewInmemTransportWithTimeout("far", patience)
	_, near := raft.NewInmemTransportWithTimeout("near", patience)
	far.Connect("near", near)
	l := newLink(near)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	memory := raft.NewInmemStore()
	l.serve(&intake{raft: &standing{applied: 10, term: 3}, stores: &Stores{Log: memory, Stable: memory, Snapshots: &shelf{}}, log: hclog.NewNullLogger()})
	for q, installed := range map[position]bool{{9, 3}: false, {10, 3}: false, {10, 4}: false, {11, 3}: true, {9, 2}: true} {
		data := strings.NewReader("state")
		answered := make(chan error, 1)
		var resp raft.InstallSnapshotResponse
		go func() {
			answered <- far.InstallSnapshot("near/1", "near", &raft.InstallSnapshotRequest{LastLogIndex: q.index, Size: 5, Term: q.term}, &resp, data)
		}()
		if installed { // or refused: by Raft
			rpc := <-l.Consumer()
			rpc.Respond(&raft.InstallSnapshotResponse{}, nil)
		}
		if err := <-answered; err != nil || resp.Success == installed || !installed && (data.Len() > 0 || resp.Term != q.term) {
			t.Errorf("index %d, term %d: %+v, %v; %d bytes weren't read", q.index, q.term, resp, err, data.Len())
		}
	}
}

// TestOneQuestionAfterTheOther: a question is judged by what Raft knows when all before it are answered, and one that Raft never
// takes is answered, too.
func TestOneQuestionAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, far := raft.NewInmemTransportWithTimeout("far", patience)
		_, near := raft.NewInmemTransportWithTimeout("near", patience)
		far.Connect("near", near)
		memory := raft.NewInmemStore()
		r := &standing{applied: 8, term: 3}
		l := newLink(near)
		l.serve(&intake{raft: r, stores: &Stores{Log: memory, Stable: memory, Snapshots: &shelf{}}, log: hclog.NewNullLogger()})
		answers := make(chan error, 1)
		send := func() {
			answers <- far.AppendEntries("near/1", "near", &raft.AppendEntriesRequest{Term: 3}, &raft.AppendEntriesResponse{})
		}
		go send()
		first := <-l.Consumer()
		var resp raft.InstallSnapshotResponse
		skipped := make(chan error, 1)
		go func() {
			skipped <- far.InstallSnapshot("near/1", "near", &raft.InstallSnapshotRequest{LastLogIndex: 9, Term: 3}, &resp, strings.NewReader(""))
		}()
		synctest.Wait()
		r.applied = 9
		first.Respond(&raft.AppendEntriesResponse{}, nil)
		if err := <-answers; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case <-l.Consumer():
			t.Error("a snapshot that was older when Raft took it")
		default:
		}
		if err := <-skipped; err != nil || !resp.Success {
			t.Errorf("the snapshot: %+v, %v", resp, err)
		}

		go send()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-answers; !errors.Is(err, raft.ErrTransportShutdown) {
			t.Errorf("a question at the end: %v", err)
		}
	})
}

// TestAddressLater: a hub that was alone gets a raft address, and others join it; without the address
// again it says what is wrong, and has what it knew.
func TestAddressLater(t *testing.T) {
	t.Parallel()
	f := newTCPHubs(t)
	h := f.add("hub-1", func(o *Options) { o.Address = "" }).start()
	if _, err := h.Propose(within(t), someNamespace("a")); err != nil {
		t.Fatal(err)
	}
	h.kill()
	h.Address = f.port()
	h.start()
	other := f.add("hub-2", func(o *Options) { o.Join = []string{h.GRPC} }).start()
	f.awaitVoters(2)
	if s, err := other.Sync(within(t)); err != nil || s.Namespaces["a"] == nil || s.Hubs["hub-1"].Raft != h.Address {
		t.Errorf("%+v, %v", s, err)
	}
	h.kill()
	h.Address, h.Options.Advertise = "", ""
	h.start()
	if p := h.Freshness().Problem; !strings.Contains(p, "set address in its raft block") {
		t.Errorf("%q", p)
	}
	if h.State().Namespaces["a"] == nil {
		t.Error("it has lost its state")
	}
}
