package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

// start configures a notifier, which ends with the test.
func start(t *testing.T, arguments map[string]any) *mqtt {
	t.Helper()
	m := &mqtt{}
	if err := m.Configure(t.Context(), configOf(t, arguments)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

func configOf(t *testing.T, arguments map[string]any) plugin.Config {
	t.Helper()
	c, err := plugin.NewConfig("orders/mqtt", arguments)
	if err != nil {
		t.Fatal(err)
	}
	c.NodeID, c.Namespaces = "node", []string{"orders"}
	return c
}

// event is a change of a key at an LSN.
func event(lsn uint64, operation notifier.Operation, key string) notifier.Event {
	return notifier.Event{
		Key: []byte(key), Operation: operation, EntryType: "kv", LSN: lsn, Epoch: 1 << 20, Count: 1,
		Time: time.Date(2026, 11, 22, 8, 0, 0, 123456789, time.UTC),
	}
}

func put(lsn uint64, key string) notifier.Event { return event(lsn, notifier.Put, key) }

// notify hands a batch over; causes are those of rejected events, by place.
func notify(t *testing.T, m *mqtt, events ...notifier.Event) (causes map[int]notifier.Cause, reasons []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := m.Notify(ctx, notifier.Batch{Namespace: "orders", Lineage: "abc", Events: events})
	if err != nil {
		t.Fatalf("Notify: %v", err)
	}
	causes = map[int]notifier.Cause{}
	for _, j := range r.Rejected {
		causes[j.Event] = j.Cause
		reasons = append(reasons, j.Reason)
	}
	return causes, reasons
}

// deliver hands events over until all are accepted, as a node does.
func deliver(t *testing.T, m *mqtt, events ...notifier.Event) {
	t.Helper()
	timeout := time.After(patience)
	for len(events) > 0 {
		causes, reasons := notify(t, m, events...)
		var rest []notifier.Event
		for i, e := range events {
			if _, ok := causes[i]; ok {
				rest = append(rest, e)
			}
		}
		events = rest
		if len(rest) == 0 {
			return
		}
		select {
		case <-timeout:
			t.Fatalf("%d events aren't accepted: %v", len(rest), reasons)
		case <-time.After(time.Millisecond): // the node waits between tries, too
		}
	}
}

func TestQoS(t *testing.T) {
	for qos := range 3 {
		t.Run(fmt.Sprint(qos), func(t *testing.T) {
			b := startMochi(t)
			s := subscribeTo(t, b.address, "unisondb/orders/#")
			m := start(t, map[string]any{"broker": "mqtt://" + b.address, "qos": qos})
			row := event(43, notifier.Delete, "r/\xff")
			row.EntryType, row.Columns, row.Index, row.Count = "row", []string{"a"}, 1, 3
			if causes, reasons := notify(t, m, put(42, "user:1"), row, put(44, "user:1")); len(causes) > 0 {
				t.Fatalf("rejected: %v, %v", causes, reasons)
			}
			for _, w := range []struct{ topic, payload string }{
				{"unisondb/orders/kv/user:1", `{"key":"user:1","namespace":"orders","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,` +
					`"epoch":1048576,"index":0,"count":1,"lineage":"abc","timestamp":"2026-11-22T08:00:00.123456789Z"}`},
				{"unisondb/orders/row/r%2F%FF", `{"key_base64":"ci//","namespace":"orders","operation":"delete","entry_type":"row","seq_num":43,"lsn":43,` +
					`"epoch":1048576,"index":1,"count":3,"lineage":"abc","timestamp":"2026-11-22T08:00:00.123456789Z","columns":["a"]}`},
				{"unisondb/orders/kv/user:1", `{"key":"user:1","namespace":"orders","operation":"put","entry_type":"kv","seq_num":44,"lsn":44,` +
					`"epoch":1048576,"index":0,"count":1,"lineage":"abc","timestamp":"2026-11-22T08:00:00.123456789Z"}`},
			} {
				got := s.next()
				if got.Topic != w.topic || int(got.QoS) != qos || got.Retain {
					t.Errorf("on %q with QoS %d, retained: %v", got.Topic, got.QoS, got.Retain)
				}
				if got.Properties.ContentType != "application/json" || got.Properties.PayloadFormat == nil || *got.Properties.PayloadFormat != 1 {
					t.Errorf("properties: %+v", got.Properties)
				}
				if diff := cmp.Diff(decode(t, w.payload), decode(t, string(got.Payload))); diff != "" {
					t.Errorf("message differs (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func decode(t *testing.T, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return m
}

// A later subscriber gets the last state, and nothing of a key that has ended; one
// that is there hears of the end.
func TestRetained(t *testing.T) {
	b := startMochi(t)
	early := subscribeTo(t, b.address, "unisondb/#")
	m := start(t, map[string]any{"broker": "mqtt://" + b.address, "retain": true})
	column := event(5, notifier.Delete, "row")
	column.EntryType, column.Columns = "row", []string{"a"}
	row := event(6, notifier.DeleteRow, "gone")
	row.EntryType = "row"
	deliver(t, m, put(1, "kept"), put(2, "kept"), put(3, "deleted"), put(3, "expired"),
		event(4, notifier.Delete, "deleted"), event(4, notifier.Expire, "expired"), column, row,
		notifier.Event{Operation: notifier.Reset, LSN: 7})

	var heard []string
	for range 14 {
		p := early.next()
		if len(p.Payload) == 0 {
			heard = append(heard, p.Topic+" empty")
			continue
		}
		heard = append(heard, fmt.Sprint(p.Topic, " ", decode(t, string(p.Payload))["operation"]))
	}
	want := []string{
		"unisondb/orders/kv/kept put", "unisondb/orders/kv/kept put", "unisondb/orders/kv/deleted put", "unisondb/orders/kv/expired put",
		"unisondb/orders/kv/deleted delete", "unisondb/orders/kv/deleted empty",
		"unisondb/orders/kv/expired expire", "unisondb/orders/kv/expired empty",
		"unisondb/orders/row/row delete", "unisondb/orders/row/gone delete_row", "unisondb/orders/row/gone empty",
		"unisondb/orders/kv/%reset reset", "unisondb/orders/lob/%reset reset", "unisondb/orders/row/%reset reset",
	}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Errorf("the early subscriber (-want +got):\n%s", diff)
	}

	late := subscribeTo(t, b.address, "unisondb/#")
	got := map[string]float64{}
	collect := func() string {
		p := late.next()
		got[p.Topic], _ = decode(t, string(p.Payload))["lsn"].(float64)
		return p.Topic
	}
	for len(got) < 2 {
		collect()
	}
	deliver(t, m, put(8, "end"))
	for collect() != "unisondb/orders/kv/end" {
	}
	if diff := cmp.Diff(map[string]float64{
		"unisondb/orders/kv/kept": 2, "unisondb/orders/row/row": 5, "unisondb/orders/kv/end": 8,
	}, got); diff != "" {
		t.Errorf("the late subscriber (-want +got):\n%s", diff)
	}
}

func TestResetWithoutEntryTypes(t *testing.T) {
	b := startMochi(t)
	m := start(t, map[string]any{"broker": "mqtt://" + b.address, "topic": "{{namespace}}/{{operation}}"})
	model := put(1, "cell")
	model.EntryType = "vector"
	deliver(t, m, model, notifier.Event{Operation: notifier.Reset, LSN: 2})
	got := b.await(2)
	if len(got) != 2 || got[0].Topic != "orders/put" || got[1].Topic != "orders/reset" {
		t.Errorf("published: %v", got)
	}
}

// The broker is away, comes, goes while a batch is under way, and comes back.
func TestBrokerComesAndGoes(t *testing.T) {
	for qos := 1; qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			b := newMochi(t)
			var taken atomic.Int64
			stopped := make(chan struct{})
			b.publish = func(b *mochiBroker, _ *mochi.Client, _ packets.Packet) error {
				if taken.Add(1) == 50 {
					go func() {
						defer close(stopped)
						b.stop()
					}()
				}
				return nil
			}
			m := start(t, map[string]any{"broker": "mqtt://" + b.address, "qos": qos})
			causes, reasons := notify(t, m, put(1, "a"), put(2, "a"))
			if causes[0] != notifier.Unavailable || len(causes) != 2 || !strings.Contains(reasons[0], "connect to the broker") {
				t.Fatalf("without a broker: %v, %v", causes, reasons)
			}

			b.start()
			var events []notifier.Event
			for i := range 500 {
				events = append(events, put(uint64(i+1), fmt.Sprint("key", i%7)))
			}
			rejected, _ := notify(t, m, events...)
			<-stopped
			var rest []notifier.Event
			for i, e := range events {
				if cause, ok := rejected[i]; ok {
					rest = append(rest, e)
					if cause != notifier.Unavailable && cause != notifier.Blocked {
						t.Errorf("event %d: cause %d", i, cause)
					}
				}
			}
			b.start()
			last := put(501, "a") // also where the broker had taken everything before it went
			events, rest = append(events, last), append(rest, last)
			deliver(t, m, rest...)
			checkOrder(t, b.messages(), events)
			if ids := b.clients; len(slices.Compact(slices.Clone(ids))) != 1 || len(ids) < 2 {
				t.Errorf("connections came as %v: want one identifier", ids)
			}
		})
	}
}

// checkOrder checks that each key's events came, in order: copies may come, but
// never before what stands in front of them.
func checkOrder(t *testing.T, got []published, sent []notifier.Event) {
	t.Helper()
	first := map[string][]uint64{}
	seen := map[uint64]bool{}
	for _, p := range got {
		m := messageOf(t, p)
		if !seen[m.LSN] {
			first[string(m.Key)] = append(first[string(m.Key)], m.LSN)
		}
		seen[m.LSN] = true
	}
	want := map[string][]uint64{}
	for _, e := range sent {
		want[string(e.Key)] = append(want[string(e.Key)], e.LSN)
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("events by key (-want +got):\n%s", diff)
	}
}

func messageOf(t *testing.T, p published) notifier.Message {
	t.Helper()
	var m notifier.Message
	if err := json.Unmarshal([]byte(p.Payload), &m); err != nil {
		t.Fatalf("%s: %v", p.Payload, err)
	}
	return m
}

// What the broker says of a message decides what becomes of it, and holds back
// what follows with that key, and nothing else.
func TestRefusals(t *testing.T) {
	for qos := 1; qos <= 2; qos++ {
		for _, test := range []struct {
			code  packets.Code
			cause notifier.Cause
		}{
			{packets.ErrNotAuthorized, notifier.Refused},
			{packets.ErrImplementationSpecificError, notifier.Refused},
			{packets.ErrUnspecifiedError, notifier.Refused},
			{packets.ErrQuotaExceeded, notifier.Unavailable},
			{packets.ErrTopicNameInvalid, notifier.Invalid},
			{packets.ErrPayloadFormatInvalid, notifier.Invalid},
		} {
			t.Run(fmt.Sprintf("QoS %d %s", qos, test.code.Reason), func(t *testing.T) {
				b := newMochi(t)
				b.publish = func(_ *mochiBroker, _ *mochi.Client, p packets.Packet) error {
					if strings.Contains(string(p.Payload), `"lsn":2,`) {
						return test.code
					}
					return nil
				}
				b.start()
				m := start(t, map[string]any{"broker": "mqtt://" + b.address, "qos": qos})
				causes, reasons := notify(t, m, put(1, "a"), put(2, "b"), put(3, "a"), put(4, "b"), put(5, "c"))
				if diff := cmp.Diff(map[int]notifier.Cause{1: test.cause, 3: notifier.Blocked}, causes); diff != "" {
					t.Errorf("causes (-want +got):\n%s", diff)
				}
				if !strings.Contains(reasons[0], fmt.Sprintf("0x%02X", test.code.Code)) {
					t.Errorf("reason: %s", reasons[0])
				}
				if causes, reasons := notify(t, m, put(6, "b")); len(causes) > 0 {
					t.Errorf("what came later: %v, %v", causes, reasons)
				}
			})
		}
	}
}

// A reset that isn't accepted holds back all that follows.
func TestRefusedReset(t *testing.T) {
	b := newMochi(t)
	b.publish = func(_ *mochiBroker, _ *mochi.Client, p packets.Packet) error {
		if strings.HasSuffix(p.TopicName, resetKey) {
			return packets.ErrQuotaExceeded
		}
		return nil
	}
	b.start()
	m := start(t, map[string]any{"broker": "mqtt://" + b.address})
	causes, _ := notify(t, m, put(1, "a"), notifier.Event{Operation: notifier.Reset, LSN: 2}, put(3, "a"), put(4, "b"))
	if diff := cmp.Diff(map[int]notifier.Cause{1: notifier.Unavailable, 2: notifier.Blocked, 3: notifier.Blocked}, causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}

// Some brokers end the connection instead of refusing a message. The one that is
// to blame is found, so that the others get through.
func TestPoisonedMessage(t *testing.T) {
	b := newMochi(t)
	b.publish = func(b *mochiBroker, cl *mochi.Client, p packets.Packet) error {
		if !strings.Contains(string(p.Payload), `"key":"poison"`) {
			return nil
		}
		b.mu.Lock()
		s := b.server
		b.mu.Unlock()
		_ = s.DisconnectClient(cl, packets.ErrPacketTooLarge) // the error says that it did
		return packets.ErrRejectPacket
	}
	b.start()
	m := start(t, map[string]any{"broker": "mqtt://" + b.address})
	rest := []notifier.Event{put(1, "a"), put(2, "poison"), put(3, "a"), put(4, "poison"), put(5, "b")}
	poisoned := rest[1]
	var reason string
	for round := 0; ; round++ {
		if round == 10 {
			t.Fatal("the message that is to blame isn't found")
		}
		causes, reasons := notify(t, m, rest...)
		if i := slices.IndexFunc(rest, func(e notifier.Event) bool { return e.LSN == poisoned.LSN }); causes[i] == notifier.Invalid {
			reason = strings.Join(reasons, "\n")
			rest = slices.Delete(rest, i, i+1) // a dead letter
			break
		}
		var again []notifier.Event
		for i, e := range rest {
			if causes[i] != 0 {
				again = append(again, e)
			}
		}
		rest = again
	}
	if !strings.Contains(reason, "packet too large") {
		t.Errorf("reasons: %s", reason)
	}
	rest = slices.DeleteFunc(rest, func(e notifier.Event) bool { return string(e.Key) == "poison" })
	deliver(t, m, rest...)
	deliver(t, m, put(6, "a"))
	if m.careful.Load() {
		t.Error("messages still go one by one")
	}
	checkOrder(t, b.messages(), []notifier.Event{put(1, "a"), put(3, "a"), put(5, "b"), put(6, "a")})
}

func TestTopicTooLong(t *testing.T) {
	b := startMochi(t)
	m := start(t, map[string]any{"broker": "mqtt://" + b.address, "topic": strings.Repeat("x", 65000) + "/{{key}}"})
	causes, reasons := notify(t, m, put(1, strings.Repeat("/", 400)), put(2, "short"))
	if diff := cmp.Diff(map[int]notifier.Cause{0: notifier.Invalid}, causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s\n%v", diff, reasons)
	}
}

// What the broker doesn't offer, and a wrong password, are things that somebody
// has to put right: events wait.
func TestBrokerThatDoesNotFit(t *testing.T) {
	for _, test := range []struct {
		name         string
		capabilities func(*mochi.Capabilities)
		login        func(user, password string) bool
		arguments    map[string]any
		reason       string
	}{
		{"QoS", func(c *mochi.Capabilities) { c.MaximumQos = 1 }, nil, map[string]any{"qos": 2}, "set qos = 1"},
		{"password", nil, func(user, password string) bool { return user == "node" && password == "right" },
			map[string]any{"username": "node", "password": "wrong"}, "check username and password"},
		{"no password", nil, func(user, _ string) bool { return user != "" }, nil, "check username and password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newMochi(t)
			b.capabilities, b.login = test.capabilities, test.login
			b.start()
			arguments := map[string]any{"broker": "mqtt://" + b.address}
			for name, v := range test.arguments {
				arguments[name] = v
			}
			m := start(t, arguments)
			causes, reasons := notify(t, m, put(1, "a"))
			if causes[0] != notifier.Unavailable || !strings.Contains(reasons[0], test.reason) {
				t.Errorf("%v, %v: want %q", causes, reasons, test.reason)
			}
			if strings.Contains(reasons[0], "wrong") {
				t.Errorf("the reason shows the password: %s", reasons[0])
			}
		})
	}
}

func TestLogin(t *testing.T) {
	b := newMochi(t)
	b.login = func(user, password string) bool { return user == "node" && password == "right" }
	b.start()
	deliver(t, start(t, map[string]any{"broker": "mqtt://" + b.address, "username": "node", "password": "right"}), put(1, "a"))
}

// More than the broker lets be under way at once, of several namespaces.
func TestPipeline(t *testing.T) {
	for qos := 1; qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			b := newMochi(t)
			b.capabilities = func(c *mochi.Capabilities) { c.ReceiveMaximum = 7 }
			b.start()
			m := start(t, map[string]any{"broker": "mqtt://" + b.address, "qos": qos})
			var all sync.WaitGroup
			for n := range 4 {
				all.Go(func() {
					var events []notifier.Event
					for i := range 300 {
						events = append(events, put(uint64(n*1000+i), fmt.Sprint("key", n, "-", i%5)))
					}
					r, err := m.Notify(t.Context(), notifier.Batch{Namespace: fmt.Sprint("ns", n), Events: events})
					if err != nil || len(r.Rejected) > 0 {
						t.Errorf("namespace %d: %d rejected, %v: %v", n, len(r.Rejected), err, r.Rejected[:min(1, len(r.Rejected))])
					}
				})
			}
			all.Wait()
			last := map[string]uint64{}
			for _, p := range b.await(1200) {
				m := messageOf(t, p)
				if before, ok := last[p.Topic]; ok && before >= m.LSN {
					t.Fatalf("on %s LSN %d comes behind %d", p.Topic, m.LSN, before)
				}
				last[p.Topic] = m.LSN
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	b := newMochi(t)
	hold := make(chan struct{})
	b.publish = func(*mochiBroker, *mochi.Client, packets.Packet) error {
		<-hold
		return nil
	}
	b.start()
	m := start(t, map[string]any{"broker": "mqtt://" + b.address})
	if _, err := m.broker.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := m.Notify(ctx, notifier.Batch{Namespace: "orders", Events: []notifier.Event{put(1, "a"), put(2, "a")}})
	if err != nil || len(r.Rejected) != 2 {
		t.Errorf("a batch of a caller that has gone: %v, %v", r, err)
	}
	close(hold)
	deliver(t, m, put(1, "a"), put(2, "a"))
}

// The end of a first connection that takes its time is no concern of Close.
func TestCloseWhileConnecting(t *testing.T) {
	m := &mqtt{}
	if err := m.Configure(t.Context(), configOf(t, map[string]any{"broker": "mqtt://" + silentBroker(t)})); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		name      string
		arguments map[string]any
		path      string
		message   string
	}{
		{"no broker", map[string]any{}, "broker", ""},
		{"no URL", map[string]any{"broker": "host:1883"}, "broker", "mqtt://"},
		{"no host", map[string]any{"broker": "mqtt://:1883"}, "broker", "no broker's URL"},
		{"scheme", map[string]any{"broker": "http://host"}, "broker", "mqtts://"},
		{"password in the URL", map[string]any{"broker": "mqtt://u:p@host"}, "broker", "use username and password"},
		{"path", map[string]any{"broker": "mqtt://host/x"}, "broker", "leave that out"},
		{"qos", map[string]any{"broker": "mqtt://host", "qos": 3}, "qos", ""},
		{"topic", map[string]any{"broker": "mqtt://host", "topic": "a/#"}, "topic", "subscribers only"},
		{"retain without key", map[string]any{"broker": "mqtt://host", "retain": true, "topic": "{{entry_type}}"}, "topic", "{{key}}"},
		{"retain without type", map[string]any{"broker": "mqtt://host", "retain": true, "topic": "{{key}}"}, "topic", "{{entry_type}}"},
		{"retain with operation", map[string]any{"broker": "mqtt://host", "retain": true, "topic": "{{entry_type}}/{{key}}/{{operation}}"}, "topic", "leave it out"},
		{"password alone", map[string]any{"broker": "mqtt://host", "password": "p"}, "username", "add it"},
		{"tls without TLS", map[string]any{"broker": "mqtt://host", "tls": map[string]any{"ca_file": "x"}}, "tls", "mqtts://"},
		{"no CA", map[string]any{"broker": "mqtts://host", "tls": map[string]any{"ca_file": "/no/such/file"}}, "tls.ca_file", "PEM"},
		{"CA without a certificate", map[string]any{"broker": "mqtts://host", "tls": map[string]any{"ca_file": "/dev/null"}}, "tls.ca_file", "holds no certificate"},
		{"certificate without key", map[string]any{"broker": "mqtts://host", "tls": map[string]any{"cert_file": "x"}}, "tls.key_file", "both"},
		{"no certificate", map[string]any{"broker": "mqtts://host", "tls": map[string]any{"cert_file": "/no/c", "key_file": "/no/k"}}, "tls.cert_file", "can read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := (&mqtt{}).Configure(t.Context(), configOf(t, test.arguments))
			var problems plugin.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the error is %v, want a problem", err)
			}
			if !slices.ContainsFunc(problems, func(p plugin.Problem) bool {
				return p.Path == test.path && strings.Contains(p.Message, test.message)
			}) {
				t.Errorf("problems: %v; want %q at %q", problems, test.message, test.path)
			}
			if strings.Contains(err.Error(), "u:p@") {
				t.Error("the problem repeats the password")
			}
		})
	}
}

func TestRetainNeedsNamespace(t *testing.T) {
	c := configOf(t, map[string]any{"broker": "mqtt://host", "retain": true, "topic": "{{entry_type}}/{{key}}"})
	if _, err := settingsOf(c); err != nil {
		t.Errorf("with one namespace: %v", err)
	}
	c.Namespaces = []string{"a", "b"}
	if _, err := settingsOf(c); err == nil || !strings.Contains(err.Error(), "{{namespace}}") {
		t.Errorf("with two namespaces: %v", err)
	}
}

func TestClientID(t *testing.T) {
	ids := map[string]bool{}
	for _, id := range []string{clientID("a", "b"), clientID("ab", ""), clientID("", "ab"), clientID("a", "c"), clientID("b", "b")} {
		if len(id) > 23 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("%q: not every broker takes it", id)
		}
		ids[id] = true
	}
	if len(ids) != 5 {
		t.Errorf("two blocks share an identifier: %v", ids)
	}
	if got, want := clientID("node", "orders/mqtt"), "unisondb"; !strings.HasPrefix(got, want) {
		t.Errorf("%q doesn't say whose it is", got)
	}
}

func TestConformance(t *testing.T) {
	var b *mochiBroker
	sdktest.Notifier(t, func(*testing.T) notifier.Program { return program("1.0.0") }, sdktest.NotifierOptions{
		Config: func(t *testing.T) map[string]any {
			b = startMochi(t)
			return map[string]any{"broker": "mqtt://" + b.address}
		},
		BadConfigs: []sdktest.BadConfig{
			{Name: "broker", Config: map[string]any{"broker": "host"}, Path: "broker"},
			{Name: "topic", Config: map[string]any{"broker": "mqtt://host", "topic": "+"}, Path: "topic"},
			{Name: "CA", Config: map[string]any{"broker": "mqtts://host", "tls": map[string]any{"ca_file": "/no/such"}}, Path: "tls.ca_file"},
		},
		Received: func(t *testing.T) []notifier.Message {
			var all []notifier.Message
			for _, p := range b.messages() {
				m := messageOf(t, p)
				if m.Operation == notifier.Reset {
					m.EntryType = "" // one for each topic
				}
				all = append(all, m)
			}
			return all
		},
		Break: func(*testing.T) func() {
			b.stop()
			return b.start
		},
	})
}
