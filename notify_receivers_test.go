package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// journal is what a receiver has accepted for good: its disk, that a crash leaves
// as it is. It holds every event against what notifiers promise.
type journal struct {
	name string

	mu     sync.Mutex
	events map[identity]notifier.Message
	keys   map[change]bool
	last   map[string]notifier.Message // by namespace, type and key
	twice  int
	err    error // the first promise that was broken
}

// identity is what makes an event the same for ever.
type identity struct {
	namespace, lineage string
	epoch, lsn         uint64
	index              int
}

func newJournal(name string) *journal {
	return &journal{name: name, events: map[identity]notifier.Message{}, keys: map[change]bool{}, last: map[string]notifier.Message{}}
}

// accept keeps events. One that was there before must be the same; one that
// wasn't must be newer than all others of its key.
func (j *journal) accept(events ...notifier.Message) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range events {
		if err := j.acceptOne(e); err != nil && j.err == nil {
			j.err = fmt.Errorf("%s: %w", j.name, err)
		}
	}
}

func (j *journal) acceptOne(e notifier.Message) error {
	id := identity{e.Namespace, e.Lineage, e.Epoch, e.LSN, e.Index}
	if old, ok := j.events[id]; ok {
		j.twice++
		if !bytes.Equal(old.AppendJSON(nil), e.AppendJSON(nil)) {
			return fmt.Errorf("%s came again as %s", old.AppendJSON(nil), e.AppendJSON(nil))
		}
		return nil
	}
	entity := e.Namespace + "/" + e.EntryType + "/" + string(e.Key)
	last, known := j.last[entity]
	j.events[id], j.last[entity] = e, e
	j.keys[change{e.Namespace, e.EntryType, string(e.Key), e.Epoch, e.LSN}] = true
	switch {
	case e.Operation == notifier.Reset || e.Count == 0 || e.Lineage == "":
		return fmt.Errorf("%s has no place here", e.AppendJSON(nil))
	case known && last.Lineage != e.Lineage:
		return fmt.Errorf("%s follows %s of another lineage", e.AppendJSON(nil), last.AppendJSON(nil))
	case known && slices.Compare([]uint64{last.Epoch, last.LSN, uint64(last.Index)}, []uint64{e.Epoch, e.LSN, uint64(e.Index)}) >= 0:
		return fmt.Errorf("%s comes behind %s", e.AppendJSON(nil), last.AppendJSON(nil))
	}
	return nil
}

func (j *journal) has(c change) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.keys[c]
}

func (j *journal) size() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.events)
}

func (j *journal) problem() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

func (j *journal) summary() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return fmt.Sprintf("%s has %d changes, %d came again", j.name, len(j.events), j.twice)
}

// moment is where a receiver's next crash finds it.
type moment int32

// The moments. Between the two a request is in the journal, and nobody was told.
const (
	never moment = iota
	beforeJournal
	afterJournal
)

// fuse crashes a receiver at a moment, once.
type fuse struct {
	at    atomic.Int32
	blown chan struct{}
}

func newFuse() *fuse { return &fuse{blown: make(chan struct{}, 1)} }

// set chooses a moment, and waits until the receiver is there.
func (f *fuse) set(ctx context.Context, rng *rand.Rand) error {
	f.at.Store(int32(beforeJournal) + rng.Int32N(2))
	select {
	case <-f.blown:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// blows reports whether the receiver is to crash here.
func (f *fuse) blows(at moment) bool {
	if !f.at.CompareAndSwap(int32(at), int32(never)) {
		return false
	}
	f.blown <- struct{}{}
	return true
}

// listenAgain listens at an address that was in use before. A connection of
// somebody else's may have got its port meanwhile.
func listenAgain(ctx context.Context, address string) (l net.Listener, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	err = poll(ctx, func() (bool, error) {
		l, last = net.Listen("tcp", address)
		return last == nil, nil
	})
	return l, errors.Join(err, last)
}

// hookReceiver is an HTTPS receiver that can be killed.
type hookReceiver struct {
	t       *testing.T
	journal *journal
	address string
	caFile  string
	secret  string
	fuse    *fuse

	mu     sync.Mutex
	server *httptest.Server
}

func newHookReceiver(t *testing.T, name string) *hookReceiver {
	t.Helper()
	h := &hookReceiver{t: t, journal: newJournal(name), address: freeAddress(t), secret: "a secret of " + name, fuse: newFuse()}
	h.start()
	t.Cleanup(h.end)
	h.caFile = filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.server.Certificate().Raw})
	if err := os.WriteFile(h.caFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// block is the notifier's in a configuration.
func (h *hookReceiver) block(name, namespaces string) string {
	return fmt.Sprintf(`
notifier "webhook" %q {
  namespaces = [%s]
  start_from = "oldest"
  config {
    url           = "https://%s/hook"
    secret        = %q
    max_in_flight = 4
    max_events    = 20
    tls { ca_file = %q }
  }
}
`, name, namespaces, h.address, h.secret, h.caFile)
}

// start listens, at the address of before.
func (h *hookReceiver) start() {
	h.t.Helper()
	l, err := listenAgain(h.t.Context(), h.address)
	if err != nil {
		h.t.Errorf("listening again: %v", err)
		return
	}
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close() // it has one of its own
	s.Listener = l
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server = s
}

// end closes the listener and breaks all connections.
func (h *hookReceiver) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.server.Config.Close() // breaks what is under way, unlike the test server's own
	h.server.Close()
}

// crash kills the receiver in the middle of a request, and starts it again.
func (h *hookReceiver) crash(ctx context.Context, rng *rand.Rand) {
	h.t.Helper()
	if err := h.fuse.set(ctx, rng); err != nil {
		h.t.Fatalf("no request came to the receiver: %v", err)
	}
	h.end()
	h.start()
}

// ServeHTTP answers when the events are in the journal.
func (h *hookReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var list struct {
		Events []notifier.Message `json:"events"`
	}
	if err := json.Unmarshal(body, &list); err != nil || len(list.Events) == 0 || req.Header.Get("X-Unisondb-Signature") == "" {
		h.t.Errorf("%s got %s with %d events: %v", h.journal.name, req.Header, len(list.Events), err)
	}
	if h.fuse.blows(beforeJournal) {
		panic(http.ErrAbortHandler)
	}
	h.journal.accept(list.Events...)
	if h.fuse.blows(afterJournal) {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusNoContent)
}

// broker is an MQTT broker that can be killed. What it acknowledged is in the journal.
type broker struct {
	mqtt.HookBase
	t       *testing.T
	journal *journal
	address string
	fuse    *fuse

	mu     sync.Mutex
	server *mqtt.Server
	line   *breakable
}

func newBroker(t *testing.T, name string) *broker {
	t.Helper()
	b := &broker{t: t, journal: newJournal(name), address: freeAddress(t), fuse: newFuse()}
	b.start()
	t.Cleanup(b.end)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	l, err := listenAgain(b.t.Context(), b.address)
	if err != nil {
		b.t.Errorf("listening again: %v", err)
		return
	}
	line := &breakable{Listener: l, conns: map[net.Conn]bool{}}
	s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	err = errors.Join(s.AddHook(b, nil), s.AddListener(listeners.NewNet("test", line)))
	if err == nil {
		err = s.Serve()
	}
	if err != nil {
		b.t.Errorf("starting the broker: %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server, b.line = s, line
}

// end breaks all connections and ends the broker, whose sessions are forgotten.
func (b *broker) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.breakAll()
	if err := b.server.Close(); err != nil {
		b.t.Errorf("ending the broker: %v", err)
	}
}

// crash kills the broker between a message and its acknowledgement, and starts it again.
func (b *broker) crash(ctx context.Context, rng *rand.Rand) {
	b.t.Helper()
	if err := b.fuse.set(ctx, rng); err != nil {
		b.t.Fatalf("no message came to the broker: %v", err)
	}
	b.end()
	b.start()
}

// ID implements mqtt.Hook.
func (b *broker) ID() string { return "journal" }

// Provides implements mqtt.Hook.
func (b *broker) Provides(hook byte) bool {
	return hook == mqtt.OnPublish || hook == mqtt.OnConnectAuthenticate || hook == mqtt.OnACLCheck
}

// OnConnectAuthenticate lets everybody in.
func (b *broker) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck lets everybody do everything.
func (b *broker) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// OnPublish runs before a message is acknowledged.
func (b *broker) OnPublish(c *mqtt.Client, p packets.Packet) (packets.Packet, error) {
	if c.Net.Inline {
		return p, nil
	}
	var e notifier.Message
	if err := json.Unmarshal(p.Payload, &e); err != nil {
		b.t.Errorf("%s got %q: %v", b.journal.name, p.Payload, err)
	}
	if b.fuse.blows(beforeJournal) {
		return p, b.snap(c)
	}
	b.journal.accept(e)
	if b.fuse.blows(afterJournal) {
		return p, b.snap(c)
	}
	return p, nil
}

// snap breaks a client's connection, so that no acknowledgement leaves.
func (b *broker) snap(c *mqtt.Client) error {
	_ = c.Net.Conn.Close()
	return packets.ErrServerUnavailable
}

// breakable is a listener whose connections can all be broken.
type breakable struct {
	net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Accept implements net.Listener.
func (l *breakable) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	return c, nil
}

func (l *breakable) breakAll() {
	_ = l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// TestJournal finds what notifiers must not do.
func TestJournal(t *testing.T) {
	event := func(lsn uint64, index int, key string) notifier.Message {
		return notifier.Message{
			Namespace: "n", Lineage: "l",
			Event: notifier.Event{Key: []byte(key), Operation: notifier.Put, EntryType: "kv", Epoch: 1, LSN: lsn, Index: index, Count: 3},
		}
	}
	again := event(5, 0, "a")
	again.Operation = notifier.Delete
	other := event(5, 0, "a")
	other.Lineage = "m"
	reset := event(5, 0, "")
	reset.Operation = notifier.Reset
	for _, c := range []struct {
		name   string
		events []notifier.Message
		ok     bool
	}{
		{"in order", []notifier.Message{event(1, 0, "a"), event(1, 1, "b"), event(1, 2, "a"), event(2, 0, "a")}, true},
		{"keys among each other in any order", []notifier.Message{event(9, 0, "a"), event(3, 0, "b")}, true},
		{"some again", []notifier.Message{event(1, 0, "a"), event(2, 0, "a"), event(1, 0, "a"), event(2, 0, "a"), event(3, 0, "a")}, true},
		{"a new one behind a newer one", []notifier.Message{event(2, 0, "a"), event(1, 0, "a")}, false},
		{"within a record", []notifier.Message{event(2, 1, "a"), event(2, 0, "a")}, false},
		{"again, and different", []notifier.Message{event(5, 0, "a"), again}, false},
		{"another lineage", []notifier.Message{event(5, 0, "a"), other}, false},
		{"a reset", []notifier.Message{reset}, false},
	} {
		j := newJournal(c.name)
		j.accept(c.events...)
		if err := j.problem(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestMissingChange finds what a receiver doesn't have.
func TestMissingChange(t *testing.T) {
	ledger, j := newChanges(), newJournal("x")
	ledger.add(change{"n", "kv", "a", 1, 7}, change{"n", "kv", "b", 1, 7})
	e := notifier.Message{Namespace: "n", Lineage: "l", Event: notifier.Event{Key: []byte("b"), EntryType: "kv", Epoch: 1, LSN: 7, Count: 2, Index: 1}}
	j.accept(e)
	if m := ledger.missing(j); m == nil || m.key != "a" {
		t.Errorf("missing is %v, expected the change of a", m)
	}
	e.Key, e.Index = []byte("a"), 0
	j.accept(e)
	if m := ledger.missing(j); m != nil {
		t.Errorf("missing is %v, expected nothing", m)
	}
}
