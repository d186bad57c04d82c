package feed

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/pebbe/zmq4"
)

// patience is a backstop: no test is meant to wait that long.
const patience = 2 * time.Minute

func TestGaps(t *testing.T) {
	g := gaps{}
	for i, one := range []struct {
		what   string
		topic  string
		m      Message
		missed bool
	}{
		{"the first message", "a.kv", Message{Run: "r1", TopicSeq: 5}, true},
		{"the next one", "a.kv", Message{Run: "r1", TopicSeq: 6}, false},
		{"the first of another topic", "a.row", Message{Run: "r1", TopicSeq: 1}, true},
		{"a gap", "a.kv", Message{Run: "r1", TopicSeq: 8}, true},
		{"the one behind the gap", "a.kv", Message{Run: "r1", TopicSeq: 9}, false},
		{"another run that happens to go on with the number", "a.kv", Message{Run: "r2", TopicSeq: 10}, true},
		{"a reset", "a.kv", Message{Run: "r2", TopicSeq: 11, Operation: "reset"}, true},
		{"the other topic has its own numbers", "a.row", Message{Run: "r1", TopicSeq: 2}, false},
	} {
		if got := g.missed(one.topic, one.m); got != one.missed {
			t.Errorf("%d, %s: missed = %v, want %v", i, one.what, got, one.missed)
		}
	}
}

func TestParse(t *testing.T) {
	topic, m, err := parse([][]byte{[]byte("orders.kv"), []byte(`{"key_base64":"/w==","operation":"put","lsn":42,"epoch":1048577,"topic_seq":17,"run":"r"}`)})
	if err != nil || topic != "orders.kv" || m.Key != "\xff" || m.LSN != 42 || m.Epoch != 1048577 || m.TopicSeq != 17 || m.Run != "r" {
		t.Errorf("%q %+v, %v", topic, m, err)
	}
	if _, _, err := parse([][]byte{[]byte("orders.kv")}); !errors.Is(err, errFrames) {
		t.Errorf("a message of one frame: %v", err)
	}
	if _, _, err := parse([][]byte{[]byte("orders.kv"), []byte(`{`)}); err == nil {
		t.Error("a message that isn't JSON is taken")
	}
}

// notifier publishes as the notifier does, at an address that stays the same.
type notifier struct {
	t       *testing.T
	socket  *zmq4.Socket
	address string
}

func startNotifier(t *testing.T, address string) *notifier {
	t.Helper()
	socket, err := zmq4.NewSocket(zmq4.XPUB) // a PUB that is told of its subscribers
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(socket.SetLinger(0), bind(socket, address))
	if err != nil {
		t.Fatal(err)
	}
	if address, err = socket.GetLastEndpoint(); err != nil {
		t.Fatal(err)
	}
	return &notifier{t, socket, address}
}

// bind binds a socket where another one may be about to close: libzmq does that behind Close.
func bind(socket *zmq4.Socket, address string) error {
	deadline := time.Now().Add(patience)
	err := socket.Bind(address)
	for zmq4.AsErrno(err) == zmq4.Errno(syscall.EADDRINUSE) && time.Now().Before(deadline) {
		runtime.Gosched()
		err = socket.Bind(address)
	}
	return err
}

// awaitSubscriber waits for the subscription itself.
func (n *notifier) awaitSubscriber() {
	n.t.Helper()
	if err := n.socket.SetRcvtimeo(patience); err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.socket.RecvBytes(0); err != nil {
		n.t.Fatal(err)
	}
}

func (n *notifier) publish(run string, seq int) {
	n.t.Helper()
	body := fmt.Sprintf(`{"key":"k%d","namespace":"orders","operation":"put","topic_seq":%d,"run":%q}`, seq, seq, run)
	if _, err := n.socket.SendMessage("orders.kv", body); err != nil {
		n.t.Fatal(err)
	}
}

func (n *notifier) stop() {
	n.t.Helper()
	if err := n.socket.Close(); err != nil {
		n.t.Fatal(err)
	}
}

// TestFeed goes through a subscriber's life with the real libzmq: the connection
// comes, messages come, some are missing, the notifier goes and another comes.
func TestFeed(t *testing.T) {
	n := startNotifier(t, "tcp://127.0.0.1:*")
	f, err := Subscribe(n.address, "orders.kv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	expect := func(kind Kind, key string, missed bool) {
		t.Helper()
		e, err := f.Next(ctx)
		if err != nil || e.Kind != kind || e.Message.Key != key || e.Missed != missed {
			t.Fatalf("%+v, %v; want kind %d, key %q, missed %v", e, err, kind, key, missed)
		}
	}
	expect(Connected, "", true)
	n.awaitSubscriber()
	n.publish("r1", 1)
	n.publish("r1", 2)
	n.publish("r1", 4)
	expect(Changed, "k1", true)
	expect(Changed, "k2", false)
	expect(Changed, "k4", true)

	n.stop()
	expect(Disconnected, "", false)
	n = startNotifier(t, n.address)
	defer n.stop()
	expect(Connected, "", true)
	n.awaitSubscriber()
	n.publish("r2", 1)
	expect(Changed, "k1", true)

	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled feed answers %v", err)
	}
}
