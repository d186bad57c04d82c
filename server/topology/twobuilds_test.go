package topology

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

const newerHubVariable = "UNISONDB_TEST_NEWER_HUB"

// grpcHub is a hub whose group is reached by gRPC, so that it can be in a process of its own.
type grpcHub struct {
	dbv1.UnimplementedHubsServer
	*Group
	server *grpc.Server
	peers  *dialed
	wg     sync.WaitGroup
}

func startGRPCHub(t *testing.T, o Options) *grpcHub {
	t.Helper()
	h := &grpcHub{server: grpc.NewServer(), peers: &dialed{conns: map[string]*grpc.ClientConn{}}}
	o.Peers, o.Timeouts, o.Logger = h.peers, fast(), testLogger(t, o.NodeID)
	l, err := net.Listen("tcp", o.GRPC)
	if err != nil {
		t.Fatal(err)
	}
	if h.Group, err = Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	dbv1.RegisterHubsServer(h.server, h)
	h.wg.Go(func() { _ = h.server.Serve(l) })
	t.Cleanup(func() { h.stop(t) })
	return h
}

func (h *grpcHub) stop(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Stop(ctx); err != nil {
		t.Error(err)
	}
	h.server.Stop()
	h.wg.Wait()
	h.peers.close()
}

func (h *grpcHub) Join(ctx context.Context, r *dbv1.JoinRequest) (*dbv1.JoinResponse, error) {
	return h.Group.Join(ctx, r)
}

func (h *grpcHub) Leave(ctx context.Context, r *dbv1.LeaveRequest) (*dbv1.LeaveResponse, error) {
	return h.Group.Leave(ctx, r)
}

func (h *grpcHub) Transfer(ctx context.Context, r *dbv1.TransferRequest) (*dbv1.TransferResponse, error) {
	return h.Group.Transfer(ctx, r)
}

func (h *grpcHub) Propose(ctx context.Context, r *dbv1.ProposeRequest) (*dbv1.ProposeResponse, error) {
	return h.ProposeRPC(ctx, r)
}

func (h *grpcHub) ReadIndex(ctx context.Context, r *dbv1.ReadIndexRequest) (*dbv1.ReadIndexResponse, error) {
	return h.Group.ReadIndex(ctx, r)
}

// dialed are connections to other hubs.
type dialed struct {
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

// Hubs implements Peers.
func (d *dialed) Hubs(address string) (dbv1.HubsClient, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns[address] == nil {
		c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		d.conns[address] = c
	}
	return dbv1.NewHubsClient(d.conns[address]), nil
}

func (d *dialed) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close()
	}
}

// answer is how a hub stands, and what came of a command.
type answer struct {
	Code    string
	Err     string
	Index   uint64
	Chain   string
	Voters  int
	Newest  Kind
	Problem string
	Leader  string
}

// do proposes a command, where there is one, and says how the hub stands.
func (h *grpcHub) do(t *testing.T, c Command) answer {
	var a answer
	if c != nil {
		if _, err := h.Group.Propose(within(t), c); err != nil {
			a.Code, a.Err = CodeOf(err), err.Error()
		}
	}
	s, f := h.State(), h.Freshness()
	a.Index, a.Chain, a.Problem, a.Leader = s.Index, s.Chain.String(), f.Problem, f.Leader
	a.Voters, a.Newest = h.voters(), newest
	return a
}

// hubOptions are what a process is told of the hub that it is.
type hubOptions struct {
	ID, Instance, Version, Dir, Address, GRPC string
	Join                                      []string
}

func (o hubOptions) options() Options {
	return Options{NodeID: o.ID, InstanceID: o.Instance, Version: o.Version, Dir: o.Dir, Address: o.Address, GRPC: o.GRPC, Voter: true, Join: o.Join}
}

// process is a hub of the newer build.
type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// buildNewer builds this package's tests with the newer commands, in the same way as these were built.
func buildNewer(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "newer.test")
	args := []string{"test", "-c", "-tags", "newercommands", "-o", program}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				args = append(args, "-race")
			}
		}
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

func startNewer(t *testing.T, program string, o Options) *process {
	t.Helper()
	options, err := json.Marshal(hubOptions{o.NodeID, o.InstanceID, o.Version, o.Dir, o.Address, o.GRPC, o.Join})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(program, "-test.run=^TestNewerHub$", "-test.v="+fmt.Sprint(testing.Verbose()))}
	p.cmd.Env = append(os.Environ(), newerHubVariable+"="+string(options))
	p.cmd.Stdout, p.cmd.Stderr = os.Stderr, os.Stderr
	answers, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.ExtraFiles = []*os.File{theirs}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	p.answers = json.NewDecoder(answers)
	t.Cleanup(func() {
		_ = p.in.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("the newer hub: %v", err)
		}
		_ = answers.Close()
	})
	return p
}

func (p *process) do(t *testing.T, what string) answer {
	t.Helper()
	var a answer
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		t.Fatal(err)
	}
	if err := p.answers.Decode(&a); err != nil {
		t.Fatalf("the newer hub doesn't answer %q: %v", what, err)
	}
	return a
}

// TestTwoBuilds: a hub of a newer build joins a group of older ones, and none of them stops. What they can't read isn't
// proposed before all of them can, whoever leads; what they may skip, they skip.
func TestTwoBuilds(t *testing.T) {
	t.Parallel()
	program := buildNewer(t)
	f := newTCPHubs(t)
	options := func(id string, join ...string) Options {
		return hubOptions{id, "i-" + id, "of-" + id, filepath.Join(t.TempDir(), id), f.port(), f.port(), join}.options()
	}
	ao := options("a")
	bo := options("b", ao.GRPC)
	no := options("new", ao.GRPC)
	a, b := startGRPCHub(t, ao), startGRPCHub(t, bo)
	n := startNewer(t, program, no)
	old := []*grpcHub{a, b}
	healthy := func() bool {
		x := n.do(t, "")
		for _, h := range old {
			if y := h.do(t, nil); y.Problem != "" || y.Voters != 3 || y.Leader == "" || y.Index != x.Index || y.Chain != x.Chain {
				return false
			}
		}
		return x.Problem == "" && x.Voters == 3
	}
	await(t, "all three are members", healthy)
	if x := n.do(t, ""); x.Newest != newest+2 {
		t.Fatalf("the newer build reads up to %d", x.Newest)
	}
	for i, leader := range []string{"new", "a"} {
		await(t, leader+" leads", func() bool {
			_ = a.TransferLeader(within(t), leader)
			return n.do(t, "").Leader == leader
		})
		if x := n.do(t, "future"); x.Code != CodeMemberCannotRead || !strings.Contains(x.Err, "runs version of-") {
			t.Errorf("led by %s: proposed what two can't read: %+v", leader, x)
		}
		before := n.do(t, "").Index
		if x := n.do(t, "hint"); x.Err != "" {
			t.Errorf("led by %s: didn't propose what two may skip: %+v", leader, x)
		}
		await(t, "the command that two may skip is there", func() bool { return n.do(t, "").Index > before })
		if _, err := b.Group.Propose(within(t), someNamespaceOf("a", fmt.Sprint("n", i))); err != nil {
			t.Errorf("led by %s: a change that all can read: %v", leader, err)
		}
		await(t, "all three are at the same place", healthy)
	}

	// The older ones are upgraded, one after the other.
	b.stop(t)
	newB := startNewer(t, program, bo)
	await(t, "a is the only one that can't read it", func() bool {
		x := n.do(t, "future")
		return x.Code == CodeMemberCannotRead && !strings.Contains(x.Err, "of-b")
	})
	a.stop(t)
	newA := startNewer(t, program, ao)
	await(t, "all can read it", func() bool { x := n.do(t, "future"); return x.Err == "" })
	await(t, "all are at the same place", func() bool {
		x, y, z := n.do(t, ""), newA.do(t, ""), newB.do(t, "")
		return x.Problem+y.Problem+z.Problem == "" && x.Chain == y.Chain && y.Chain == z.Chain && x.Index == y.Index
	})

	// There is no way back: an older build says so, and takes no part.
	newB.do(t, "stop")
	bo.GRPC = f.port()
	back := startGRPCHub(t, bo)
	await(t, "the older build says that it can't read the log", func() bool {
		return strings.Contains(back.do(t, nil).Problem, "newer version")
	})
	if x := n.do(t, ""); x.Problem != "" {
		t.Errorf("the others: %+v", x)
	}
}

// someNamespaceOf is a change that nobody refuses the first time.
func someNamespaceOf(owner, name string) Command {
	c := someNamespace(name).(CreateNamespace) //nolint:errcheck // it is one
	c.Owner = hubNode(owner)
	return c
}
