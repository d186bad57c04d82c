package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/pebbe/zmq4"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

// freePort is one that nobody uses.
func freePort(t *testing.T) int {
	t.Helper()
	l, port := occupy(t)
	shut(t, l)
	return port
}

// occupy takes a port.
func occupy(t *testing.T) (l net.Listener, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("the address %v isn't TCP's", l.Addr())
	}
	return l, address.Port
}

func shut(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// ipcPath is a socket's path, which has to be short.
func ipcPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "zmq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "s")
}

// start configures a notifier for the namespace "orders", which ends with the test.
func start(t *testing.T, arguments map[string]any) *zeromq {
	t.Helper()
	return startLogging(t, arguments, hclog.NewNullLogger())
}

func startLogging(t *testing.T, arguments map[string]any, logger hclog.Logger) *zeromq {
	t.Helper()
	z := newZeroMQ()
	c := configOf(t, arguments)
	c.Logger = logger
	if err := z.Configure(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, z) })
	return z
}

func stop(t *testing.T, z *zeromq) {
	t.Helper()
	if err := z.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func configOf(t *testing.T, arguments map[string]any) plugin.Config {
	t.Helper()
	c, err := plugin.NewConfig("orders/zeromq", arguments)
	if err != nil {
		t.Fatal(err)
	}
	c.NodeID, c.Namespaces = "node", []string{"orders"}
	return c
}

// event is a put of a key at an LSN.
func event(lsn uint64, key string) notifier.Event {
	return notifier.Event{
		Key: []byte(key), Operation: notifier.Put, EntryType: "kv", LSN: lsn, Epoch: 1 << 20, Count: 1,
		Time: time.Date(2026, 11, 22, 8, 0, 0, 123456789, time.UTC),
	}
}

func notify(t *testing.T, z *zeromq, events ...notifier.Event) {
	t.Helper()
	r, err := z.Notify(t.Context(), notifier.Batch{Namespace: "orders", Lineage: "abc", Events: events})
	if err != nil || len(r.Rejected) > 0 {
		t.Fatalf("Notify: %v, %v", r, err)
	}
}

// join publishes to the topic orders.kv until a new subscriber gets all of it.
func join(t *testing.T, z *zeromq, s *subscriber) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for joined := false; !joined; {
		notify(t, z, event(1, "join"))
		select {
		case _, joined = <-s.messages:
			if !joined {
				t.Fatal("the subscriber has ended")
			}
		case <-tick.C:
		}
	}
	notify(t, z, event(1, "joined"))
	for string(s.message(s.next()).Key) != "joined" {
	}
}

func TestMessages(t *testing.T) {
	port := freePort(t)
	z := start(t, map[string]any{"bind_port": port})
	s := startSubscriber(t, subscription{Endpoint: fmt.Sprintf("tcp://127.0.0.1:%d", port), Topics: []string{"orders."}})
	join(t, z, s)
	seq := z.seq["orders"]["kv"]

	row := event(43, "r\xff")
	row.EntryType, row.Operation, row.Columns, row.Index, row.Count = "row", notifier.Delete, []string{"a"}, 1, 3
	notify(t, z, event(42, "user:1"), row, event(44, "user:2"))

	want := []struct{ topic, body string }{
		{"orders.kv", fmt.Sprintf(`{"key":"user:1","namespace":"orders","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,`+
			`"epoch":1048576,"index":0,"count":1,"topic_seq":%d,"run":%q,"timestamp":"2026-11-22T08:00:00.123456789Z"}`, seq+1, z.run)},
		{"orders.row", fmt.Sprintf(`{"key_base64":"cv8=","namespace":"orders","operation":"delete","entry_type":"row","seq_num":43,"lsn":43,`+
			`"epoch":1048576,"index":1,"count":3,"topic_seq":1,"run":%q,"timestamp":"2026-11-22T08:00:00.123456789Z","columns":["a"]}`, z.run)},
		{"orders.kv", fmt.Sprintf(`{"key":"user:2","namespace":"orders","operation":"put","entry_type":"kv","seq_num":44,"lsn":44,`+
			`"epoch":1048576,"index":0,"count":1,"topic_seq":%d,"run":%q,"timestamp":"2026-11-22T08:00:00.123456789Z"}`, seq+2, z.run)},
	}
	for _, w := range want {
		got := s.next()
		if got.Parts != 2 || got.Topic != w.topic {
			t.Errorf("%d frames on %q, want 2 on %q", got.Parts, got.Topic, w.topic)
		}
		if diff := cmp.Diff(decode(t, []byte(w.body)), decode(t, got.Body)); diff != "" {
			t.Errorf("message differs (-want +got):\n%s", diff)
		}
	}
}

func decode(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return m
}

func TestSubscriptionToOneTopic(t *testing.T) {
	port := freePort(t)
	z := start(t, map[string]any{"bind_port": port})
	s := startSubscriber(t, subscription{Endpoint: fmt.Sprintf("tcp://127.0.0.1:%d", port), Topics: []string{"orders.kv"}})
	join(t, z, s)
	row := event(2, "row")
	row.EntryType = "row"
	notify(t, z, row, event(3, "kv"))
	if m := s.expect(1)[0]; string(m.Key) != "kv" {
		t.Errorf("got %q, want the event of the topic", m.Key)
	}
}

func TestResetGoesToEveryTopic(t *testing.T) {
	port := freePort(t)
	z := start(t, map[string]any{"bind_port": port})
	s := startSubscriber(t, subscription{Endpoint: fmt.Sprintf("tcp://127.0.0.1:%d", port), Topics: []string{""}})
	join(t, z, s)
	vector := event(2, "v")
	vector.EntryType = "vector"
	notify(t, z, vector, notifier.Event{Operation: notifier.Reset, LSN: 3, Epoch: 1 << 20})
	s.expect(1)
	var topics []string
	for range 4 {
		r := s.next()
		m := s.message(r)
		topics = append(topics, r.Topic)
		if m.Operation != notifier.Reset || r.Topic != "orders."+m.EntryType || len(m.Key) > 0 || m.LSN != 3 {
			t.Errorf("on %s: %s", r.Topic, r.Body)
		}
	}
	if diff := cmp.Diff([]string{"orders.kv", "orders.lob", "orders.row", "orders.vector"}, topics); diff != "" {
		t.Errorf("topics (-want +got):\n%s", diff)
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct{ name, bind, connect string }{
		{"all", "*", "tcp://127.0.0.1:%d"},
		{"name", "localhost", "tcp://127.0.0.1:%d"},
		{"interface", "lo", "tcp://127.0.0.1:%d"},
		{"IPv6", "::1", "tcp://[::1]:%d"},
		{"IPv6 in brackets", "[::1]", "tcp://[::1]:%d"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Contains(test.connect, "[") {
				l, err := net.Listen("tcp", "[::1]:0")
				if err != nil {
					t.Skipf("this machine has no IPv6: %v", err)
				}
				shut(t, l)
			}
			port := freePort(t)
			z := start(t, map[string]any{"bind_port": port, "bind_address": test.bind})
			s := startSubscriber(t, subscription{Endpoint: fmt.Sprintf(test.connect, port), Topics: []string{""}})
			join(t, z, s)
		})
	}
}

func TestIPC(t *testing.T) {
	path := ipcPath(t)
	z := start(t, map[string]any{"bind_address": "ipc://" + path})
	s := startSubscriber(t, subscription{Endpoint: "ipc://" + path, Topics: []string{""}})
	join(t, z, s)
	notify(t, z, event(2, "a"))
	s.expect(1)

	// Somebody else gets a clear answer, and this one goes on.
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it need not wait for the socket to become free
	err := newZeroMQ().Configure(ctx, configOf(t, map[string]any{"bind_address": "ipc://" + path}))
	wantProblem(t, err, "bind_address", "another program listens")
	notify(t, z, event(3, "b"))
	s.expect(1)
}

// What a process that was killed leaves behind doesn't keep the next one away.
func TestIPCLeftBehind(t *testing.T) {
	path := ipcPath(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	shut(t, l)
	z := start(t, map[string]any{"bind_address": "ipc://" + path})
	s := startSubscriber(t, subscription{Endpoint: "ipc://" + path, Topics: []string{""}})
	join(t, z, s)
}

// A port that becomes free within a moment is waited for.
func TestPortOfThePluginBefore(t *testing.T) {
	l, port := occupy(t)
	s, err := settingsOf(configOf(t, map[string]any{"bind_port": port}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryListen(s, hclog.NewNullLogger()); err == nil {
		t.Fatal("a port was bound that is in use")
	}
	shut(t, l)
	p, err := listen(t.Context(), s, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.close(0); err != nil {
		t.Error(err)
	}
}

func TestSlowSubscriberSeesWhatItLost(t *testing.T) {
	path := ipcPath(t)
	z := start(t, map[string]any{"bind_address": "ipc://" + path, "high_water_mark": 10})
	s := startSubscriber(t, subscription{Endpoint: "ipc://" + path, Topics: []string{"orders.kv"}, Receive: 10})
	join(t, z, s)
	last := z.seq["orders"]["kv"]

	s.tell("pause")
	for s.next().Topic != "paused" {
	}
	const flood = 20_000 // some 5 MB: more than the kernel keeps between two processes
	for i := range flood {
		notify(t, z, event(uint64(i), "flood"))
	}
	s.tell("resume")
	lost := uint64(0)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case r := <-s.messages:
			m := s.message(r)
			if m.TopicSeq <= last {
				t.Fatalf("topic_seq fell from %d to %d", last, m.TopicSeq)
			}
			lost += m.TopicSeq - last - 1
			last, ended = m.TopicSeq, string(m.Key) == "end"
		case <-tick.C:
			notify(t, z, event(1, "end")) // until one finds room
		}
	}
	if lost == 0 || lost >= flood {
		t.Errorf("%d messages of %d were lost: want some, and a sequence that tells of them", lost, flood)
	}
}

func TestCurve(t *testing.T) {
	if !zmq4.HasCurve() {
		t.Skip("this libzmq has no CURVE")
	}
	serverPublic, serverSecret := keyPair(t)
	public, secret := keyPair(t)
	strangerPublic, strangerSecret := keyPair(t)
	port := freePort(t)
	log := make(lines, 1000)
	z := startLogging(t, map[string]any{"bind_port": port, "curve": map[string]any{
		"secret_key": serverSecret, "allowed_clients": []string{public},
	}}, hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Debug}))
	log.await(t, serverPublic)
	endpoint := fmt.Sprintf("tcp://127.0.0.1:%d", port)

	stranger := startSubscriber(t, subscription{
		Endpoint: endpoint, Topics: []string{""}, Server: serverPublic, Public: strangerPublic, Secret: strangerSecret,
	})
	log.await(t, strangerPublic)
	plain := startSubscriber(t, subscription{Endpoint: endpoint, Topics: []string{""}})
	s := startSubscriber(t, subscription{
		Endpoint: endpoint, Topics: []string{""}, Server: serverPublic, Public: public, Secret: secret,
	})
	join(t, z, s)
	for lsn := range uint64(100) {
		notify(t, z, event(lsn, "secret"))
	}
	s.expect(100)
	if n := len(stranger.messages) + len(plain.messages); n > 0 {
		t.Errorf("%d messages went to subscribers that aren't allowed", n)
	}
}

func TestCurveForAll(t *testing.T) {
	if !zmq4.HasCurve() {
		t.Skip("this libzmq has no CURVE")
	}
	serverPublic, serverSecret := keyPair(t)
	public, secret := keyPair(t)
	port := freePort(t)
	z := start(t, map[string]any{"bind_port": port, "curve": map[string]any{
		"secret_key": serverSecret, "allowed_clients": []string{"*"},
	}})
	s := startSubscriber(t, subscription{
		Endpoint: fmt.Sprintf("tcp://127.0.0.1:%d", port), Topics: []string{""}, Server: serverPublic, Public: public, Secret: secret,
	})
	join(t, z, s)
}

func keyPair(t *testing.T) (public, secret string) {
	t.Helper()
	public, secret, err := zmq4.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	return public, secret
}

// lines is a log, line by line.
type lines chan string

// Write implements io.Writer.
func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func (l lines) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			t.Fatalf("%q doesn't come in the log", text)
		}
	}
}

func TestCloseSendsWhatWaits(t *testing.T) {
	path := ipcPath(t)
	z := newZeroMQ()
	c := configOf(t, map[string]any{"bind_address": "ipc://" + path, "high_water_mark": 0, "linger_time": "10m"})
	if err := z.Configure(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s := startSubscriber(t, subscription{Endpoint: "ipc://" + path, Topics: []string{""}, Receive: 1e6})
	join(t, z, s)
	s.signal(syscall.SIGSTOP)
	const waiting = 10_000 // more than the kernel keeps between two processes
	for lsn := range uint64(waiting) {
		notify(t, z, event(lsn, "last"))
	}
	closed := make(chan error, 1)
	go func() { closed <- z.Close(context.Background()) }()
	s.signal(syscall.SIGCONT)
	s.expect(waiting)
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := z.Notify(t.Context(), notifier.Batch{Namespace: "orders", Events: []notifier.Event{event(1, "late")}}); err == nil {
		t.Error("an event was accepted after Close")
	}
}

func TestEachRunHasItsName(t *testing.T) {
	port := freePort(t)
	first := newZeroMQ()
	if err := first.Configure(t.Context(), configOf(t, map[string]any{"bind_port": port})); err != nil {
		t.Fatal(err)
	}
	s := startSubscriber(t, subscription{Endpoint: fmt.Sprintf("tcp://127.0.0.1:%d", port), Topics: []string{""}})
	join(t, first, s)
	stop(t, first)
	second := start(t, map[string]any{"bind_port": port})
	if first.run == second.run || first.run == "" {
		t.Errorf("runs are named %q and %q", first.run, second.run)
	}
	join(t, second, s) // the same subscriber, which connects anew
}

func TestProblems(t *testing.T) {
	taken, port := occupy(t)
	defer shut(t, taken)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, secret := keyPair(t)
	for _, test := range []struct {
		name      string
		arguments map[string]any
		path      string
		message   string
	}{
		{"no port", map[string]any{}, "bind_port", "write bind_port = 5555"},
		{"port taken", map[string]any{"bind_port": port}, "bind_port", "another program uses port"},
		{"port out of range", map[string]any{"bind_port": 70000}, "bind_port", ""},
		{"address of another machine", map[string]any{"bind_port": 5555, "bind_address": "192.0.2.1"}, "bind_address", "no address of this machine"},
		{"a name", map[string]any{"bind_port": 5555, "bind_address": "example.com"}, "bind_address", "no network interface"},
		{"address with port", map[string]any{"bind_port": 5555, "bind_address": "127.0.0.1:5555"}, "bind_address", "without scheme and port"},
		{"address with scheme", map[string]any{"bind_port": 5555, "bind_address": "tcp://127.0.0.1"}, "bind_address", "without scheme and port"},
		{"socket with port", map[string]any{"bind_port": 5555, "bind_address": "ipc:///tmp/x"}, "bind_port", "leave it out"},
		{"relative socket", map[string]any{"bind_address": "ipc://x"}, "bind_address", "absolute path"},
		{"wildcard socket", map[string]any{"bind_address": "ipc://*"}, "bind_address", "absolute path"},
		{"long socket", map[string]any{"bind_address": "ipc:///" + strings.Repeat("x", 200)}, "bind_address", "shorter"},
		{"socket without folder", map[string]any{"bind_address": "ipc:///no/such/folder"}, "bind_address", "make it"},
		{"socket below a file", map[string]any{"bind_address": "ipc://" + file + "/s"}, "bind_address", ""},
		{"a file instead of a socket", map[string]any{"bind_address": "ipc://" + file}, "bind_address", "is no socket"},
		{"negative mark", map[string]any{"bind_port": 5555, "high_water_mark": -1}, "high_water_mark", ""},
		{"secret key", map[string]any{"bind_port": 5555, "curve": map[string]any{"secret_key": "short", "allowed_clients": []string{"*"}}}, "curve.secret_key", "40 characters"},
		{"nobody allowed", map[string]any{"bind_port": 5555, "curve": map[string]any{"secret_key": secret, "allowed_clients": []string{}}}, "curve.allowed_clients", "nobody"},
		{"wrong client", map[string]any{"bind_port": 5555, "curve": map[string]any{"secret_key": secret, "allowed_clients": []string{"x"}}}, "curve.allowed_clients", "no CURVE key"},
		{"all and one", map[string]any{"bind_port": 5555, "curve": map[string]any{"secret_key": secret, "allowed_clients": []string{"*", secret}}}, "curve.allowed_clients", "alone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			wantProblem(t, newZeroMQ().Configure(ctx, configOf(t, test.arguments)), test.path, test.message)
		})
	}
	if _, err := os.Lstat(file); err != nil {
		t.Errorf("the file that stood in the socket's place: %v", err)
	}

	t.Run("two namespaces", func(t *testing.T) {
		c := configOf(t, map[string]any{"bind_port": 5555})
		c.Namespaces = []string{"a", "b"}
		wantProblem(t, newZeroMQ().Configure(t.Context(), c), "", "of its own inside each namespace")
	})
}

func wantProblem(t *testing.T, err error, path, message string) {
	t.Helper()
	var problems plugin.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("the error is %v, want a problem", err)
	}
	for _, p := range problems {
		if p.Path == path && strings.Contains(p.Message, message) {
			return
		}
	}
	t.Errorf("problems: %v; want %q at %q", problems, message, path)
}

func TestConformance(t *testing.T) {
	sdktest.Notifier(t, func(*testing.T) notifier.Program { return program("1.0.0") }, sdktest.NotifierOptions{
		Config: func(t *testing.T) map[string]any { return map[string]any{"bind_port": freePort(t)} },
		BadConfigs: []sdktest.BadConfig{
			{Name: "port", Config: map[string]any{"bind_port": 0}, Path: "bind_port"},
			{Name: "address", Config: map[string]any{"bind_port": 5555, "bind_address": "no-such-name"}, Path: "bind_address"},
		},
	})
}
