package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netspace is a network namespace without a name: it lasts as long as this process
// has it open or a process of the test runs in it. So nothing of it is left behind, however the
// test ends, and what it is called can't be what somebody else uses.
type netspace struct {
	file *os.File
	home *os.File // the namespace that the test runs in
}

// threadNetspace opens the network namespace of the calling thread.
func threadNetspace() (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
}

// newNetspace makes a network namespace, with nothing in it but loopback.
func newNetspace(t *testing.T) *netspace {
	t.Helper()
	runtime.LockOSThread()
	home, err := threadNetspace()
	if err != nil {
		runtime.UnlockOSThread()
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = home.Close() })
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("needs root to make network namespaces: %v", err)
	}
	file, openErr := threadNetspace()
	n := &netspace{file: file, home: home}
	n.leave()
	if openErr != nil {
		t.Fatal(openErr)
	}
	t.Cleanup(func() { _ = file.Close() })
	n.command(t, "ip", "link", "set", "lo", "up")
	return n
}

// leave takes the calling thread back to where the test runs. A thread that can't is
// of no use to anybody, and mustn't end either: it may be the parent by whose death the kernel
// kills a node.
func (n *netspace) leave() {
	if err := unix.Setns(int(n.home.Fd()), unix.CLONE_NEWNET); err != nil {
		panic(fmt.Sprintf("leaving a network namespace: %v", err))
	}
	runtime.UnlockOSThread()
}

// do calls f on a thread that is in the namespace: sockets that f makes and processes
// that it starts belong there.
func (n *netspace) do(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	defer n.leave()
	return f()
}

// dial connects within the namespace. The address is no name, so that net does it on
// the calling thread.
func (n *netspace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// start starts a process in the namespace.
func (n *netspace) start(cmd *exec.Cmd) error { return n.do(cmd.Start) }

// run runs a program in the namespace to its end.
func (n *netspace) run(stdin, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := n.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdin, out.String())
	}
	return nil
}

// command is run for what the test can't do without.
func (n *netspace) command(t *testing.T, name string, args ...string) {
	t.Helper()
	if err := n.run("", name, args...); err != nil {
		t.Fatal(err)
	}
}

// transport is for an HTTP client whose connections begin in the namespace, so that it
// comes to a node's door on loopback.
func (n *netspace) transport(t *testing.T) *http.Transport {
	tr := &http.Transport{DialContext: n.dial, MaxIdleConnsPerHost: 64, IdleConnTimeout: 10 * time.Second, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// lan is a switch with a network namespace at each of its ports. The switch is in a
// namespace of its own, too.
type lan struct {
	t     *testing.T
	hub   *netspace
	ports []*port
}

// port is a host of a lan.
type port struct {
	*netspace
	address string
	deafTo  map[string]bool // addresses that nothing comes in from
}

// newLAN makes a switch. It skips the test where the machine can't have one.
func newLAN(t *testing.T) *lan {
	t.Helper()
	for tool, debian := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs the program %s of Debian's package %s: make bootstrap (%v)", tool, debian, err)
		}
	}
	l := &lan{t: t, hub: newNetspace(t)}
	l.hub.command(t, "ip", "link", "add", "lan", "type", "bridge")
	l.hub.command(t, "ip", "link", "set", "lan", "up")
	return l
}

// join adds a host.
func (l *lan) join() *port {
	l.t.Helper()
	number := len(l.ports) + 1
	p := &port{netspace: newNetspace(l.t), address: fmt.Sprintf("10.77.0.%d", number), deafTo: map[string]bool{}}
	here := fmt.Sprintf("port%d", number)
	l.hub.command(l.t, "ip", "link", "add", here, "type", "veth", "peer", "name", "eth0",
		"netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.file.Fd()))
	l.hub.command(l.t, "ip", "link", "set", here, "master", "lan", "up")
	p.command(l.t, "ip", "address", "add", p.address+"/24", "dev", "eth0")
	p.command(l.t, "ip", "link", "set", "eth0", "up")
	l.ports = append(l.ports, p)
	return p
}

// hear says from whom nothing comes in any more, or again. All packets are dropped, those of
// connections that are there, too; nobody is told.
func (p *port) hear(from *port, hears bool) error {
	if hears {
		delete(p.deafTo, from.address)
	} else {
		p.deafTo[from.address] = true
	}
	var rules strings.Builder
	rules.WriteString("flush ruleset\ntable ip chaos {\n chain input {\n  type filter hook input priority 0; policy accept;\n")
	for _, address := range sortedKeys(p.deafTo) {
		fmt.Fprintf(&rules, "  ip saddr %s drop\n", address)
	}
	rules.WriteString(" }\n}\n")
	return p.run(rules.String(), "nft", "-f", "-")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// TestLAN holds the harness against what it says: hosts reach each other, a one-way cut
// stops one direction, and what is on the test's own loopback isn't there.
func TestLAN(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	a, b := l.join(), l.join()
	receive := func(p *port) net.PacketConn {
		var c net.PacketConn
		if err := p.do(func() (err error) {
			c, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp4", p.address+":9")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	atA, atB := receive(a), receive(b)
	// arrives sends until something has come, if it should; what mustn't come has come before
	// what is sent after it in the other direction was answered.
	exchange := func(from net.PacketConn, to *port, at net.PacketConn, text string) error {
		target := &net.UDPAddr{IP: net.ParseIP(to.address), Port: 9}
		deadline := time.Now().Add(patience)
		for time.Now().Before(deadline) {
			if _, err := from.WriteTo([]byte(text), target); err != nil {
				return err
			}
			if err := at.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				return err
			}
			buffer := make([]byte, 100)
			n, _, err := at.ReadFrom(buffer)
			if err == nil && string(buffer[:n]) == text {
				return nil
			}
			if err == nil && strings.HasPrefix(string(buffer[:n]), "secret") {
				return fmt.Errorf("%q came through a cut", buffer[:n])
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
		}
		return fmt.Errorf("%q didn't arrive", text)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(exchange(atA, b, atB, "there"))
	check(exchange(atB, a, atA, "and back"))
	check(b.hear(a, false))
	for range 10 {
		_, err := atA.WriteTo([]byte("secret"), &net.UDPAddr{IP: net.ParseIP(b.address), Port: 9})
		check(err)
	}
	check(exchange(atB, a, atA, "the other way"))
	check(b.hear(a, true))
	check(exchange(atA, b, atB, "healed"))
}
