package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

// chaosNode is a hub or a relayer at a port of the lan. Its HTTP door is on loopback
// there, on the same port for all.
type chaosNode struct {
	*process
	at   *port
	said *lockedBuffer // by all its processes
	// down and frozen are what the schedule has done to it.
	down, frozen bool
}

const (
	chaosHTTP = "127.0.0.1:4000"
	chaosGRPC = ":4001"
	chaosRaft = ":4002"
)

// fleet is three hubs and four relayers of theirs, each in a network namespace of its own,
// with certificates of one CA.
type fleet struct {
	t        *testing.T
	lan      *lan
	binary   string
	pki      string
	hubs     []*chaosNode
	relayers []*chaosNode
}

const (
	chaosHubs     = 3
	chaosRelayers = 4
)

func hubName(i int) string     { return fmt.Sprintf("hub-%d", i+1) }
func relayerName(i int) string { return fmt.Sprintf("edge-%d", i+1) }

// steadyName is the namespace that a hub owns all the time, and all nodes have.
func steadyName(hub int) string { return fmt.Sprintf("steady-%d", hub+1) }

// insights is what the last relayer owns.
const insights = "insights"

// newFleet makes the configuration of all nodes, and starts none.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, lan: newLAN(t), binary: buildBinary(t), pki: t.TempDir()}
	f.tool("tls", "ca", "create", "-out="+f.pki)
	var ports []*port
	for range chaosHubs + chaosRelayers {
		ports = append(ports, f.lan.join())
	}
	var hubGRPC []string
	for _, p := range ports[:chaosHubs] {
		hubGRPC = append(hubGRPC, fmt.Sprintf("%q", p.address+chaosGRPC))
	}
	for i := range chaosHubs {
		blocks := fmt.Sprintf("raft {\n  address = %q\n  bootstrap_expect = %d\n  join = [%s]\n}\n",
			ports[i].address+chaosRaft, chaosHubs, strings.Join(hubGRPC, ", "))
		blocks += fmt.Sprintf("namespace %q {\n  replicate {\n    relayers = [\"*\"]\n    hubs = [\"*\"]\n  }\n}\n", steadyName(i))
		f.hubs = append(f.hubs, f.node("hub", hubName(i), "server", ports[i], blocks))
	}
	for i := range chaosRelayers {
		var addresses []string // each attends another hub first
		for j := range hubGRPC {
			addresses = append(addresses, hubGRPC[(i+j)%len(hubGRPC)])
		}
		blocks := fmt.Sprintf("relayer {\n  labels = { number = \"%d\" }\n", i+1)
		if i == chaosRelayers-1 {
			blocks += fmt.Sprintf("  own %q {}\n", insights)
		}
		blocks += fmt.Sprintf("  upstream \"hubs\" {\n    addresses = [%s]\n    %s  }\n}\n", strings.Join(addresses, ", "), f.tls(relayerName(i), ""))
		f.relayers = append(f.relayers, f.node("relayer", relayerName(i), "relayer", ports[chaosHubs+i], blocks))
	}
	return f
}

// tls is a tls block for a node.
func (f *fleet) tls(name, more string) string {
	return fmt.Sprintf("tls {\n    cert_file = %q\n    key_file = %q\n    ca_file = %q\n    %s\n  }\n",
		filepath.Join(f.pki, name+".crt"), filepath.Join(f.pki, name+".key"), filepath.Join(f.pki, "ca.crt"), more)
}

// tool runs the program for what needs no node.
func (f *fleet) tool(args ...string) {
	f.t.Helper()
	if out, err := exec.Command(f.binary, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("unisondb %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// node makes a node's certificate and configuration.
func (f *fleet) node(kind, name, role string, at *port, blocks string) *chaosNode {
	f.t.Helper()
	dir := f.t.TempDir()
	f.tool("tls", "cert", "create", "-"+kind, "-name="+name, "-ip="+at.address, "-out="+f.pki)
	config := fmt.Sprintf("node_id = %q\ndata_dir = %q\nmemory_limit = \"64MiB\"\nlistener \"http\" {\n  address = %q\n}\nlistener \"grpc\" {\n  address = %q\n  %s}\n%s%s",
		name, filepath.Join(dir, "data"), chaosHTTP, at.address+chaosGRPC, f.tls(name, "require_client_cert = true"),
		"storage {\n  segment_size = \"1MiB\"\n  memtable_size = \"4MiB\"\n}\n", blocks)
	path := filepath.Join(dir, "node.hcl")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	c, err := client.New(client.Config{Address: "http://" + chaosHTTP, HTTPClient: &http.Client{Transport: at.transport(f.t)}})
	if err != nil {
		f.t.Fatal(err)
	}
	n := &chaosNode{at: at, said: &lockedBuffer{}, process: &process{
		t: f.t, name: name, grpc: at.address + chaosGRPC, config: path, binary: f.binary, role: role, client: c,
	}}
	n.launch = func(cmd *exec.Cmd) error {
		cmd.Stderr = io.MultiWriter(cmd.Stderr, n.said)
		return at.start(cmd)
	}
	f.t.Cleanup(n.process.kill)
	return n
}

func (f *fleet) all() []*chaosNode {
	return append(append([]*chaosNode{}, f.hubs...), f.relayers...)
}

// start starts every node. They wait for each other, so that it is done at once.
func (f *fleet) start() {
	f.t.Helper()
	var wg sync.WaitGroup
	for _, n := range f.all() {
		wg.Go(n.start)
	}
	wg.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// kill ends a node without warning. One that had ended before, by itself, is a bug.
func (n *chaosNode) kill() {
	n.t.Helper()
	n.process.mu.Lock()
	cmd := n.cmd
	n.process.mu.Unlock()
	n.process.kill()
	n.down, n.frozen = true, false
	if cmd == nil {
		return
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() || s.Signal() != syscall.SIGKILL {
		n.t.Errorf("%s ended by itself: %v", n.name, cmd.ProcessState)
	}
}

// revive starts a node that was killed.
func (n *chaosNode) revive() {
	n.t.Helper()
	n.start()
	n.down = false
}

// freeze stops a node where it is; its connections stay.
func (n *chaosNode) freeze() {
	n.t.Helper()
	n.signal(syscall.SIGSTOP)
	n.frozen = true
}

// thaw lets it go on, as if no time had passed.
func (n *chaosNode) thaw() {
	n.t.Helper()
	n.signal(syscall.SIGCONT)
	n.frozen = false
}

func (n *chaosNode) signal(s syscall.Signal) {
	n.t.Helper()
	n.process.mu.Lock()
	defer n.process.mu.Unlock()
	if n.cmd == nil {
		return
	}
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Errorf("%v to %s: %v", s, n.name, err)
	}
}

// stop ends a node as an operator does, and expects it to end well.
func (n *chaosNode) stop(ctx context.Context) error {
	n.process.mu.Lock()
	defer n.process.mu.Unlock()
	cmd := n.cmd
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s ended by itself: %w", n.name, err)
	}
	n.cmd = nil
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGABRT) })() // which prints where it hangs
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s didn't stop well: %w", n.name, errors.Join(ctx.Err(), err))
	}
	return nil
}

// works says that nothing was done to a node.
func (n *chaosNode) works() bool { return !n.down && !n.frozen }

// reaches says that two nodes work and packets go both ways between them.
func (n *chaosNode) reaches(other *chaosNode) bool {
	return n.works() && other.works() && !n.at.deafTo[other.at.address] && !other.at.deafTo[n.at.address]
}
