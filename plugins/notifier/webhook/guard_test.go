package main

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

func TestGuard(t *testing.T) {
	const allowed, byLeave, never = 0, 1, 2
	for text, want := range map[string]int{
		"127.0.0.1": allowed, "::1": allowed, "127.9.9.9": allowed, "::ffff:127.0.0.1": allowed,
		"10.1.2.3": allowed, "172.16.0.1": allowed, "192.168.1.1": allowed, "fd12::1": allowed,
		"93.184.216.34": allowed, "2606:4700::1111": allowed, "100.64.0.1": allowed, "64:ff9b::5db8:d822": allowed,

		"169.254.169.254": byLeave, "169.254.0.1": byLeave, "169.254.170.2": byLeave,
		"fe80::1": byLeave, "fe80::1%eth0": byLeave, "febf::1": byLeave,
		"::ffff:169.254.169.254": byLeave, "::ffff:a9fe:a9fe": byLeave, // IPv4 in IPv6
		"::169.254.169.254": byLeave, "::ffff:0:169.254.169.254": byLeave,
		"64:ff9b::169.254.169.254": byLeave, "64:ff9b:1::169.254.169.254": byLeave, "2002:a9fe:a9fe::1": byLeave,
		"fd00:ec2::254": byLeave, "fd20:ce::254": byLeave, "100.100.100.200": byLeave, "::ffff:100.100.100.200": byLeave,
		"168.63.129.16": byLeave, "192.0.0.192": byLeave,

		"0.0.0.0": never, "::": never, "0.1.2.3": never, "::ffff:0.0.0.0": never, "64:ff9b::": never,
		"224.0.0.1": never, "239.255.255.250": never, "ff02::1": never, "ff02::1%lo": never, "ff0e::1": never, "255.255.255.255": never,
		"::ffff:224.0.0.1": never,
	} {
		addr := netip.MustParseAddr(text)
		if err := (guard{}).check(addr); (err == nil) != (want == allowed) {
			t.Errorf("%s: %v", text, err)
		}
		if err := (guard{linkLocal: true}).check(addr); (err == nil) != (want != never) {
			t.Errorf("%s, link-local addresses allowed: %v", text, err)
		}
	}
}

// TestForbiddenURL is found when the plugin is configured.
func TestForbiddenURL(t *testing.T) {
	for _, url := range []string{
		"http://169.254.169.254/latest/meta-data/", "https://[fe80::1]/", "https://[fe80::1%25eth0]:8080/x", "http://[::ffff:169.254.169.254]/",
		"http://0.0.0.0:80/", "http://[::]:80/", "http://224.0.0.1/",
	} {
		c, err := plugin.NewConfig("x", map[string]any{"url": url})
		if err != nil {
			t.Fatal(err)
		}
		w := &webhook{}
		problems, ok := w.Configure(t.Context(), c).(plugin.Problems)
		if !ok || len(problems) != 1 || problems[0].Path != "url" {
			t.Errorf("%s: the problems are %v", url, problems)
		}
	}
}

// TestForbiddenSpellings are addresses that only a resolver reads as such: they
// are found when they are dialled.
func TestForbiddenSpellings(t *testing.T) {
	for _, url := range []string{"http://0/", "http://0x7f.1.1.1.1.1/", "http://2852039166/", "http://0xa9fea9fe/", "http://169.254.43518/"} {
		w := configured(t, map[string]any{"url": url, "timeout": "1m"})
		result := notify(t, w, batchOf("a"))
		if len(result.Rejected) != 1 || result.Rejected[0].Cause != notifier.Unavailable {
			t.Errorf("%s: %+v", url, result)
		}
	}
}

// TestNameThatChangesItsMind resolves to an allowed address first and to a
// metadata address afterwards: what counts is what is dialled.
func TestNameThatChangesItsMind(t *testing.T) {
	r := newReceiver(t, nil)
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	names := newNames(t)
	w := notifierOf(t, r, map[string]any{"url": "https://rebind.test" + port})
	w.endpoint.resolver = names.resolver()
	config, err := w.endpoint.tls.load()
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName = "example.com" // of httptest's certificate
	w.endpoint.client = w.endpoint.newClient(config)

	names.address.Store(ipv4(127, 0, 0, 1))
	if result := notify(t, w, batchOf("a")); len(result.Rejected) != 0 {
		t.Fatalf("an allowed address: %+v", result)
	}
	w.endpoint.client.CloseIdleConnections()
	w.endpoint.client = w.endpoint.newClient(config) // it has no connection left
	names.address.Store(ipv4(169, 254, 169, 254))
	result := notify(t, w, batchOf("b"))
	if len(result.Rejected) != 1 || !strings.Contains(result.Rejected[0].Reason, "allow_link_local") {
		t.Errorf("a metadata address: %+v", result)
	}
	if n := names.questions.Load(); n < 2 {
		t.Errorf("the name was resolved %d times: the test proves nothing", n)
	}
}

func ipv4(a, b, c, d byte) uint32 { return binary.BigEndian.Uint32([]byte{a, b, c, d}) }

// names is a DNS server that answers every question for an IPv4 address alike.
type names struct {
	conn      net.PacketConn
	address   atomic.Uint32
	questions atomic.Int64
}

func newNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return n
}

func (n *names) serve() {
	buffer := make([]byte, 1<<10)
	for {
		size, from, err := n.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer := n.answer(buffer[:size]); answer != nil {
			_, _ = n.conn.WriteTo(answer, from)
		}
	}
}

// answer takes the header and the question, and puts an address behind (RFC 1035).
func (n *names) answer(question []byte) []byte {
	const header = 12
	end := header
	for end < len(question) && question[end] != 0 {
		end += int(question[end]) + 1
	}
	if end += 5; end > len(question) {
		return nil
	}
	const typeA = 1
	a := append([]byte(nil), question[:end]...)
	a[2], a[3] = 0x81, 0x80 // an answer, with recursion
	copy(a[4:header], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	if binary.BigEndian.Uint16(question[end-4:]) != typeA {
		return a
	}
	n.questions.Add(1)
	a[7] = 1
	a = append(a, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4)
	return binary.BigEndian.AppendUint32(a, n.address.Load())
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, n.conn.LocalAddr().String())
	}}
}
