package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// mosquitto is Debian's broker, in a process of its own.
type mosquitto struct {
	t       *testing.T
	path    string
	config  string
	address string
	cmd     *exec.Cmd
}

// startMosquitto starts the broker with further lines of configuration, until
// the test's end.
func startMosquitto(t *testing.T, lines ...string) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, path: findMosquitto(t, "mosquitto"), address: freeAddress(t)}
	_, port, err := net.SplitHostPort(m.address)
	if err != nil {
		t.Fatal(err)
	}
	m.config = filepath.Join(t.TempDir(), "mosquitto.conf")
	config := append([]string{
		fmt.Sprintf("listener %s 127.0.0.1", port), "persistence false", "log_dest stderr", "user root",
	}, lines...)
	if err := os.WriteFile(m.config, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.kill)
	return m
}

// findMosquitto finds a program of Debian's package.
func findMosquitto(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		// Debian puts it where only root's PATH reaches.
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Skipf("%s is missing: install Debian's package mosquitto, as tools/bootstrap does", name)
		}
	}
	return path
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.path, "-c", m.config)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); ; {
		conn, err := net.Dial("tcp", m.address)
		if err == nil {
			shut(m.t, conn)
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			m.t.Fatalf("the broker doesn't start: %v", err)
		}
	}
}

// kill ends the broker as kill -9 does.
func (m *mosquitto) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait() // which reports the kill
	m.cmd = nil
}

func TestMosquitto(t *testing.T) {
	for qos := range 3 {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			b := startMosquitto(t, "allow_anonymous true", "max_queued_messages 10000")
			s := subscribeTo(t, b.address, "unisondb/orders/kv/+")
			m := start(t, map[string]any{"broker": "mqtt://" + b.address, "qos": qos})
			var events []notifier.Event
			for i := range 300 {
				events = append(events, put(uint64(i+1), fmt.Sprint("key/", i%7)))
			}
			deliver(t, m, events...)
			checkOrder(t, s.take(len(events)), events)
			if qos == 0 {
				return // what is on its way when the broker ends is lost
			}

			b.kill()
			causes, _ := notify(t, m, events...)
			if len(causes) != len(events) {
				t.Errorf("%d of %d events were rejected without a broker", len(causes), len(events))
			}
			b.start()
			s = subscribeTo(t, b.address, "unisondb/orders/kv/+")
			deliver(t, m, events...)
			checkOrder(t, s.take(len(events)), events)
		})
	}
}

// take gives the next n messages.
func (s *subscriber) take(n int) []published {
	s.t.Helper()
	var all []published
	for range n {
		p := s.next()
		all = append(all, published{Topic: p.Topic, Payload: string(p.Payload)})
	}
	return all
}

func TestMosquittoRefuses(t *testing.T) {
	passwd := findMosquitto(t, "mosquitto_passwd")
	dir := t.TempDir()
	passwords, acl := filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")
	if out, err := exec.Command(passwd, "-b", "-c", passwords, "node", "right").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	if err := os.WriteFile(acl, []byte("user node\ntopic readwrite #\ntopic deny unisondb/orders/kv/forbidden\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := startMosquitto(t, "allow_anonymous false", "password_file "+passwords, "acl_file "+acl, "max_packet_size 1000")

	m := start(t, map[string]any{"broker": "mqtt://" + b.address, "username": "node", "password": "wrong"})
	causes, reasons := notify(t, m, put(1, "a"))
	if causes[0] != notifier.Unavailable || !strings.Contains(reasons[0], "check username and password") {
		t.Errorf("with a wrong password: %v, %v", causes, reasons)
	}

	m = start(t, map[string]any{"broker": "mqtt://" + b.address, "username": "node", "password": "right", "qos": 2})
	causes, reasons = notify(t, m, put(1, "a"), put(2, "forbidden"), put(3, strings.Repeat("x", 400)), put(4, "a"), put(5, "forbidden"))
	want := map[int]notifier.Cause{1: notifier.Refused, 2: notifier.Invalid, 4: notifier.Blocked}
	if diff := cmp.Diff(want, causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s\n%v", diff, reasons)
	}
}

func TestMosquittoTLS(t *testing.T) {
	findMosquitto(t, "mosquitto")
	dir := t.TempDir()
	ca := newAuthority(t)
	caFile := ca.write(filepath.Join(dir, "ca.pem"))
	certFile, keyFile := writePair(t, dir, ca.issue())
	b := startMosquitto(t, "allow_anonymous true", "cafile "+caFile, "certfile "+certFile, "keyfile "+keyFile, "require_certificate true")
	m := start(t, map[string]any{
		"broker": "mqtts://" + b.address, "qos": 2,
		"tls": map[string]any{"ca_file": caFile, "cert_file": certFile, "key_file": keyFile},
	})
	deliver(t, m, put(1, "a"), put(2, "b"))

	anonymous := start(t, map[string]any{"broker": "mqtts://" + b.address, "tls": map[string]any{"ca_file": caFile}})
	if causes, reasons := notify(t, anonymous, put(1, "a")); causes[0] != notifier.Unavailable {
		t.Errorf("without a certificate: %v, %v", causes, reasons)
	}
}
