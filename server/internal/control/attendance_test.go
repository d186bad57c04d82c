package control

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// edge is a relayer under test.
type edge struct {
	*Attendance
	dir string

	mu      sync.Mutex
	heard   []*dbv1.Assignment
	reports []*dbv1.NamespaceReport
}

// attending starts a relayer.
func attending(t testing.TB, n *network, id string, dir string, addresses []string, change func(*AttendanceOptions)) *edge {
	t.Helper()
	e := &edge{dir: dir}
	o := AttendanceOptions{
		NodeID: id, Addresses: addresses, Path: filepath.Join(dir, "relayer.json"), Dial: n.dial,
		Hello: func() *dbv1.RelayerHello { return hello(id) },
		Report: func() []*dbv1.NamespaceReport {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.reports
		},
		OnAssignment: func(a *dbv1.Assignment) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.heard = append(e.heard, a)
		},
	}
	if change != nil {
		change(&o)
	}
	var err error
	if e.Attendance, err = NewAttendance(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	e.Start()
	return e
}

func (e *edge) setReports(reports ...*dbv1.NamespaceReport) {
	e.mu.Lock()
	e.reports = reports
	e.mu.Unlock()
	e.ReportSoon()
}

func (e *edge) has(t testing.TB, namespaces ...string) {
	t.Helper()
	eventually(t, "the relayer has "+strings.Join(namespaces, ", "), func() bool {
		return slices.Equal(namesOf(e.Assignment()), append([]string{}, namespaces...))
	})
}

func (e *edge) connected(t testing.TB, hub string) {
	t.Helper()
	eventually(t, "the relayer attends "+hub, func() bool { s := e.Status(); return s.Connected && s.Hub == hub })
}

func (e *edge) failing(t testing.TB, code string) AttendanceStatus {
	t.Helper()
	eventually(t, "the relayer says "+code, func() bool { s := e.Status(); return !s.Connected && s.Code == code })
	return e.Status()
}

// TestAttendance: a relayer joins, hears what it is to have, reports, and after a restart has that from its
// disk without any hub.
func TestAttendance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir := newNetwork(), t.TempDir()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.namespace(t, "orders")
		e := attending(t, n, "edge-1", dir, []string{hub.address}, nil)
		e.connected(t, "hub")
		hub.assign(t, "orders", "edge-1")
		e.has(t, "orders")
		same := &dbv1.NamespaceReport{Name: "same", Lsn: 1}
		e.setReports(&dbv1.NamespaceReport{Name: "orders", Lsn: 1}, &dbv1.NamespaceReport{Name: "old", Lsn: 1}, same)
		eventually(t, "the hub knows how they do", func() bool { return len(hub.session("edge-1").GetNamespaces()) == 3 })
		e.setReports(&dbv1.NamespaceReport{Name: "orders", Lsn: 7}, same)
		eventually(t, "the hub knows how it does", func() bool {
			got := hub.session("edge-1").GetNamespaces()
			return len(got) == 2 && got[0].GetLsn() == 7
		})
		if got := e.Status(); got.Cluster != hub.group.State().Cluster || got.Address != hub.address || got.Code != "" {
			t.Errorf("status %+v", got)
		}
		e.Close()
		hub.close()
		again := attending(t, n, "edge-1", dir, []string{hub.address}, nil)
		if got := again.Assignment(); !slices.Equal(namesOf(got), []string{"orders"}) || !proto.Equal(got, e.Assignment()) {
			t.Errorf("after a restart it has %v", got)
		}
		again.failing(t, CodeUnavailable)
		info, err := os.Stat(filepath.Join(dir, "relayer.json"))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("relayer.json: %v, %v", info.Mode(), err)
		}
	})
}

// TestFailover: a relayer goes from one hub to the next, also to those that it has only been told of.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, group := newNetwork(), newGroup(t, "hub-a")
		a, b := serve(t, n, "hub-a", group, nil), serve(t, n, "hub-b", group, nil)
		a.propose(t, topology.SetHub{Hub: topology.Hub{ID: "hub-b", Instance: "b", Raft: "hub-b:4002", GRPC: b.address, Voter: false, ReadsUpTo: 1000}})
		a.namespace(t, "orders")
		e := attending(t, n, "edge-1", t.TempDir(), []string{"gone:4001", a.address}, nil)
		e.connected(t, "hub-a")
		a.assign(t, "orders", "edge-1")
		e.has(t, "orders")
		n.sever(a.address, true)
		e.connected(t, "hub-b")
		eventually(t, "the first hub has noticed", func() bool { return a.session("edge-1") == nil })
		b.unassign(t, "orders", "edge-1")
		e.has(t)
		n.sever(a.address, false)
		n.sever(b.address, true)
		e.connected(t, "hub-a")
		a.desk.Interrupt() // it stops: its relayers are told to go elsewhere
		n.sever(b.address, false)
		e.connected(t, "hub-b")
	})
}

// TestNews: a report has what has changed since the one before.
func TestNews(t *testing.T) {
	var now []*dbv1.NamespaceReport
	v := &visit{Attendance: &Attendance{o: AttendanceOptions{Report: func() []*dbv1.NamespaceReport { return now }}}, reported: map[string]*dbv1.NamespaceReport{}}
	is := func(name string, lsn uint64) *dbv1.NamespaceReport {
		return &dbv1.NamespaceReport{Name: name, Lsn: lsn}
	}
	for _, tt := range []struct {
		now        []*dbv1.NamespaceReport
		says, gone string
	}{
		{[]*dbv1.NamespaceReport{is("a", 1), is("b", 1)}, "a b", ""},
		{[]*dbv1.NamespaceReport{is("a", 1), is("b", 1)}, "", ""},
		{[]*dbv1.NamespaceReport{is("a", 2), is("b", 1)}, "a", ""},
		{[]*dbv1.NamespaceReport{is("b", 1)}, "", "a"},
		{[]*dbv1.NamespaceReport{is("b", 1), is("a", 2)}, "a", ""},
		{nil, "", "a b"},
		{nil, "", ""},
	} {
		now = tt.now
		r := v.news()
		var says []string
		for _, ns := range r.GetNamespaces() {
			says = append(says, ns.GetName())
		}
		if strings.Join(says, " ") != tt.says || strings.Join(r.GetGone(), " ") != tt.gone {
			t.Errorf("of %v it says %q, gone %q", tt.now, says, r.GetGone())
		}
	}
}

// TestOtherCluster: a relayer keeps to the group that it has joined, whatever its addresses say.
func TestOtherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir := newNetwork(), t.TempDir()
		ours, other := serve(t, n, "hub", newGroup(t, "hub"), nil), serve(t, n, "other", newGroup(t, "other"), nil)
		e := attending(t, n, "edge-1", dir, []string{ours.address}, nil)
		e.connected(t, "hub")
		e.Close()
		moved := attending(t, n, "edge-1", dir, []string{other.address}, nil)
		if got := moved.failing(t, CodeOtherCluster); !strings.Contains(got.Reason, "empty data directory") || got.Cluster != ours.group.State().Cluster {
			t.Errorf("status %+v", got)
		}
		if other.group.State().Relayers["edge-1"] != nil {
			t.Error("it has joined the other group, too")
		}
		moved.Close()
		both := attending(t, n, "edge-1", dir, []string{other.address, ours.address}, nil)
		both.connected(t, "hub")
	})
}

// TestOtherClusterThatLetsEverybodyIn: the relayer's end looks itself, too.
func TestOtherClusterThatLetsEverybodyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir := newNetwork(), t.TempDir()
		if err := (store{vfs.OS(), filepath.Join(dir, "relayer.json")}).write(memory{NodeID: "edge-1", Cluster: "ours"}); err != nil {
			t.Fatal(err)
		}
		fake(t, n, "hub:4001", func(stream dbv1.Control_AttendServer) error {
			_ = stream.Send(&dbv1.HubMessage{Body: &dbv1.HubMessage_Hello{Hello: &dbv1.HubHello{NodeId: "x", Cluster: "theirs"}}})
			_ = stream.Send(&dbv1.HubMessage{Body: &dbv1.HubMessage_Assignment{Assignment: &dbv1.Assignment{Index: 9}}})
			<-stream.Context().Done()
			return nil
		})
		e := attending(t, n, "edge-1", dir, []string{"hub:4001"}, nil)
		e.failing(t, CodeOtherCluster)
		if e.Assignment() != nil {
			t.Errorf("it takes %v", e.Assignment())
		}
	})
}

// fake serves Attend by a function.
func fake(t testing.TB, n *network, address string, attend func(dbv1.Control_AttendServer) error) {
	t.Helper()
	s := grpc.NewServer()
	if attend != nil {
		dbv1.RegisterControlServer(s, fakeDesk{attend: attend})
	}
	l := bufconn.Listen(64 << 10)
	n.mu.Lock()
	n.listeners[address] = l
	n.mu.Unlock()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		s.Stop()
		serving.Wait()
	})
}

type fakeDesk struct {
	dbv1.UnimplementedControlServer
	attend func(dbv1.Control_AttendServer) error
}

func (f fakeDesk) Attend(stream dbv1.Control_AttendServer) error { return f.attend(stream) }

// TestNoControl: an upstream that is a relayer, or a hub of an older version, is left in peace.
func TestNoControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		fake(t, n, "relayer:4001", nil)
		e := attending(t, n, "edge-1", t.TempDir(), []string{"relayer:4001"}, nil)
		if got := e.failing(t, CodeControlNotOffered); !strings.Contains(got.Reason, "older version") {
			t.Errorf("got %+v", got)
		}
		e.Close()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		attending(t, n, "edge-1", e.dir, []string{"relayer:4001", hub.address}, nil).connected(t, "hub")
	})
}

// TestSilentHub: a hub that hangs is left for another, one that is slow isn't.
func TestSilentHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.propose(t, topology.SetRelayer{Relayer: topology.Relayer{ID: "edge-1", Instance: hello("edge-1").InstanceId}})
		fake(t, n, "hangs:4001", func(stream dbv1.Control_AttendServer) error {
			_ = stream.Send(&dbv1.HubMessage{Body: &dbv1.HubMessage_Hello{Hello: &dbv1.HubHello{NodeId: "hangs", Cluster: hub.group.State().Cluster}}})
			<-stream.Context().Done()
			return nil
		})
		fake(t, n, "mute:4001", func(stream dbv1.Control_AttendServer) error {
			<-stream.Context().Done()
			return nil
		})
		e := attending(t, n, "edge-1", t.TempDir(), []string{"mute:4001", "hangs:4001", hub.address}, nil)
		e.connected(t, "hangs")
		e.connected(t, "hub")
		time.Sleep(10 * time.Minute)
		if got := e.Status(); !got.Connected || time.Since(got.Since) < 9*time.Minute {
			t.Errorf("a session with a hub that sends heartbeats is cut: %+v", got)
		}
	})
}

// TestSilence: what comes in small pieces is no silence, and what the relayer does meanwhile isn't
// either.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer func() { _, _ = a.Close(), b.Close() }()
		var v visit
		cut := make(chan struct{})
		s := watchSilence(&v.came, func() { close(cut) })
		isCut := func() bool {
			synctest.Wait()
			select {
			case <-cut:
				return true
			default:
				return false
			}
		}
		s.wait()
		for range 10 {
			time.Sleep(hubPatience / 2)
			v.came.Add(trickle)
		}
		s.pause()
		time.Sleep(3 * hubPatience)
		s.wait()
		time.Sleep(hubPatience - 1)
		if isCut() {
			t.Fatal("it is cut although something comes")
		}
		v.came.Add(17) // a sign of life of the connection
		time.Sleep(2 * time.Nanosecond)
		if !isCut() {
			t.Error("nothing comes and it isn't cut")
		}
	})
}

// TestJoinByToken: the credential is on disk before the token is used, so that an answer that is lost costs
// nothing.
func TestJoinByToken(t *testing.T) {
	n, dir := newNetwork(), t.TempDir()
	shown := make(chan *dbv1.RelayerHello, 100)
	fake(t, n, "hub:4001", func(stream dbv1.Control_AttendServer) error {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		shown <- m.GetHello()
		return errors.New("the answer is lost")
	})
	tell := func(o *AttendanceOptions) { o.JoinToken = "unison-join.a.b" }
	e := attending(t, n, "edge-1", dir, []string{"hub:4001"}, tell)
	h := <-shown
	// Over a plain connection no credential is shown, and none is made.
	if h.GetJoinToken() == "" || h.GetCredential() != "" || e.Credential() != "" {
		t.Errorf("over a plain connection: %v", h)
	}
	e.Close()
	secure := newEdge(t, n, dir, tell)
	first, err := secure.hello(true)
	if err != nil || len(first.GetCredential()) < minCredential {
		t.Fatalf("got %v, %v", first, err)
	}
	again := newEdge(t, n, dir, tell)
	second, err := again.hello(true)
	if err != nil || second.GetCredential() != first.GetCredential() || again.Credential() != first.GetCredential() {
		t.Errorf("after a crash it shows %v, %v", second, err)
	}
	if h, err := again.hello(false); err != nil || h.GetCredential() != "" {
		t.Errorf("a plain connection carries the credential: %v, %v", h, err)
	}
	if h, err := newEdge(t, n, t.TempDir(), nil).hello(true); err != nil || h.GetCredential() != "" {
		t.Errorf("one that has a certificate makes a credential: %v, %v", h, err)
	}
}

// newEdge is one that isn't started.
func newEdge(t testing.TB, n *network, dir string, change func(*AttendanceOptions)) *Attendance {
	t.Helper()
	o := AttendanceOptions{
		NodeID: "edge-1", Addresses: []string{"hub:4001"}, Path: filepath.Join(dir, "relayer.json"), Dial: n.dial,
		Hello: func() *dbv1.RelayerHello { return hello("edge-1") }, Report: func() []*dbv1.NamespaceReport { return nil },
	}
	if change != nil {
		change(&o)
	}
	a, err := NewAttendance(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// TestFullDisk: what can't be kept isn't passed on, and comes again once it can.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.namespace(t, "orders")
		disk := vfs.NewMem()
		if err := disk.MkdirAll("/edge"); err != nil {
			t.Fatal(err)
		}
		e := attending(t, n, "edge-1", "/edge", []string{hub.address}, func(o *AttendanceOptions) { o.FS = disk })
		e.connected(t, "hub")
		e.has(t)
		disk.SetCapacity(0)
		hub.assign(t, "orders", "edge-1")
		if got := e.failing(t, CodeAssignmentUnusable); !strings.Contains(got.Reason, "check the disk") {
			t.Errorf("got %+v", got)
		}
		if got := namesOf(e.Assignment()); len(got) > 0 {
			t.Errorf("it has %q", got)
		}
		disk.SetCapacity(-1)
		e.has(t, "orders")
		e.connected(t, "hub")
	})
}

// TestRota: all addresses have their turn at once, and rounds in vain become seldom.
func TestRota(t *testing.T) {
	r := rota{configured: []string{"a", "b"}, rand: func() float64 { return 1 }}
	var tried []string
	var waits []time.Duration
	try := func(times int, attended, retryable bool) {
		for range times {
			tried = append(tried, r.address())
			waits = append(waits, r.next(attended, retryable))
		}
	}
	try(6, false, true)
	if got := strings.Join(tried, ""); got != "ababab" {
		t.Errorf("tried %s", got)
	}
	want := []time.Duration{failoverPause, backoffFirst, failoverPause, 2 * backoffFirst, failoverPause, 4 * backoffFirst}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v", waits)
	}
	try(100, false, true)
	if got := waits[len(waits)-1]; got != backoffMax {
		t.Errorf("waits %v in the end", got)
	}
	r.learn([]string{"c", "a"})
	tried = nil
	try(4, false, false)
	if got := strings.Join(tried, ""); got != "abca" {
		t.Errorf("tried %s after it has learned of c", got)
	}
	if got := waits[len(waits)-2]; got != backoffHelpless {
		t.Errorf("waits %v although nothing helps", got)
	}
	r.learn([]string{"c", "d"})
	r.at = 3
	r.learn([]string{"d"}) // c has left while it was d's turn
	if got := r.address(); got != "d" {
		t.Errorf("goes on at %q", got)
	}
	r.learn([]string{"c"})
	r.at = 2
	r.learn(nil) // c has left while it was c's turn
	if got := r.address(); got != "a" {
		t.Errorf("goes on at %q", got)
	}
	if got := r.next(true, true); got != failoverPause {
		t.Errorf("waits %v after a session", got)
	}
}

// TestStoreRefuses: a file that isn't in order is refused in words, and stays as it is.
func TestStoreRefuses(t *testing.T) {
	good, err := memory{NodeID: "edge-1", Cluster: "c", Assignment: &dbv1.Assignment{Index: 1 << 60, Hubs: []string{"h:1"}}}.encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, content string
		is            error
		says          string
	}{
		{"empty", "", dbkernel.ErrDamaged, "move it away"},
		{"no JSON", "{", dbkernel.ErrDamaged, "move it away"},
		{"another file", `{"magic":"unisondb-node","version":1}`, dbkernel.ErrDamaged, "no relayer's"},
		{"newer", strings.Replace(string(good), `"version": 1`, `"version": 2`, 1), dbkernel.ErrNewerFormat, "nothing was touched"},
		{"a flipped bit", strings.Replace(string(good), `"h:1"`, `"h:2"`, 1), dbkernel.ErrDamaged, "checksum"},
		{"another node's", string(good), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "relayer.json")
			if err := os.WriteFile(name, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := store{vfs.OS(), name}.read("edge-1")
			if tt.is == nil {
				if err != nil || m.Assignment.GetIndex() != 1<<60 {
					t.Errorf("got %+v, %v", m, err)
				}
				_, err = store{vfs.OS(), name}.read("edge-2")
				if err == nil || !strings.Contains(err.Error(), `that of relayer "edge-1"`) {
					t.Errorf("another node reads it: %v", err)
				}
				return
			}
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
			if b, err := os.ReadFile(name); err != nil || string(b) != tt.content {
				t.Errorf("it was touched: %q, %v", b, err)
			}
		})
	}
}

// TestStoreSurvivesPowerCuts: whenever the power goes, the file is what it was before a write or after
// it, and once write has returned, after it.
func TestStoreSurvivesPowerCuts(t *testing.T) {
	disk := vfs.NewMem()
	if err := errors.Join(disk.MkdirAll("/d"), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	cuts := 0
	var written uint64
	check := func(cut *vfs.Mem, least uint64) {
		t.Helper()
		cuts++
		m, err := store{cut, "/d/relayer.json"}.read("e")
		if got := m.Assignment.GetIndex(); err != nil || got < least || got > written+1 {
			t.Fatalf("it says %d, %v; %d was written", got, err, written)
		}
	}
	s := store{vfs.WithFaults(disk, vfs.Hooks{Before: func(op vfs.Op) *vfs.Fault {
		if op.Kind.Writes() {
			check(disk.Crash(rng, vfs.AnyCrash(rng)), written)
		}
		return nil
	}}), "/d/relayer.json"}
	for range 100 {
		if err := s.write(memory{NodeID: "e", Assignment: &dbv1.Assignment{Index: written + 1}}); err != nil {
			t.Fatal(err)
		}
		written++
		check(disk.Crash(rng, vfs.CrashOptions{}), written)
	}
	if cuts < 500 {
		t.Errorf("only %d power cuts", cuts)
	}
}

// FuzzStore: no content makes a relayer panic, and what is taken is written the same again.
func FuzzStore(f *testing.F) {
	good, err := memory{NodeID: "edge-1", Cluster: "c", Credential: "s", Assignment: &dbv1.Assignment{Index: 7, Namespaces: []*dbv1.AssignedNamespace{{Name: "n"}}}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"magic":"unisondb-relayer","version":1,"checksum":"00000000","relayer":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMemory(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		same, err := parseMemory(again)
		if err != nil || same.NodeID != m.NodeID || same.Credential != m.Credential || !proto.Equal(same.Assignment, m.Assignment) {
			t.Errorf("%+v became %+v, %v", m, same, err)
		}
	})
}

// TestReconnectStorm: a hub that lets relayers in and loses them at once isn't stormed.
func TestReconnectStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var mu sync.Mutex
		came := 0
		fake(t, n, "hub:4001", func(stream dbv1.Control_AttendServer) error {
			mu.Lock()
			defer mu.Unlock()
			came++
			return stream.Send(&dbv1.HubMessage{Body: &dbv1.HubMessage_Hello{Hello: &dbv1.HubHello{NodeId: "hub", Cluster: "c"}}})
		})
		attending(t, n, "edge-1", t.TempDir(), []string{"hub:4001"}, nil)
		time.Sleep(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if came < 30 || came > 150 {
			t.Errorf("it came %d times in ten minutes", came)
		}
	})
}

// TestStreamCredentials: a credential goes over TLS alone.
func TestStreamCredentials(t *testing.T) {
	md, err := StreamCredentials("edge-1", func() string { return "secret" }).GetRequestMetadata(context.Background())
	if err != nil || len(md) > 0 {
		t.Errorf("over a connection that nothing is known of: %v, %v", md, err)
	}
}
