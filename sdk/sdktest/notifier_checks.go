package sdktest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/unisondb/unisondb/sdk/notifier"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// notifierChecks are the parts of a notifier's suite.
type notifierChecks struct {
	start starter
	o     NotifierOptions
}

// begin starts and configures a notifier.
func (s notifierChecks) begin(t *testing.T) running {
	t.Helper()
	p := s.start(t)
	if problems := configure(t, p, s.o.Config(t)); len(problems) > 0 {
		t.Fatalf("the configuration that works was rejected: %v", problems)
	}
	return p
}

// unconfigured: an error, not an acknowledgement, before there is a receiver.
func (s notifierChecks) unconfigured(t *testing.T) {
	p := s.start(t)
	if _, err := p.notifier.Notify(deadline(t), batch("default", 1, 1)); err == nil {
		t.Fatal("a batch was accepted before Configure")
	}
}

// order: what is accepted arrives, and each key's events in their order.
func (s notifierChecks) order(t *testing.T) {
	p := s.begin(t)
	var sent []*pluginv1.NotifyRequest
	for i := range 10 {
		b := batch("default", 1+uint64(i)*100, 100)
		s.deliver(t, p, b)
		sent = append(sent, b)
	}
	s.arrived(t, sent...)
}

// namespaces: batches of several come at once.
func (s notifierChecks) namespaces(t *testing.T) {
	p := s.begin(t)
	var mu sync.Mutex
	var sent []*pluginv1.NotifyRequest
	var senders sync.WaitGroup
	for n := range 4 {
		senders.Go(func() {
			for i := range 5 {
				b := batch(fmt.Sprintf("ns-%d", n), 1+uint64(i)*20, 20)
				if !s.accepted(t, p, b) {
					return
				}
				mu.Lock()
				sent = append(sent, b)
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	s.arrived(t, sent...)
}

// forms: every operation, type and kind of key.
func (s notifierChecks) forms(t *testing.T) {
	p := s.begin(t)
	s.deliver(t, p, &pluginv1.NotifyRequest{Namespace: "default", Lineage: lineage}) // none at all
	b := &pluginv1.NotifyRequest{Namespace: "default", Lineage: lineage, Events: []*pluginv1.Event{
		{Operation: pluginv1.Operation_OPERATION_RESET},
		{Key: []byte("text"), EntryType: "kv", Operation: pluginv1.Operation_OPERATION_PUT},
		{Key: []byte("text"), EntryType: "kv", Operation: pluginv1.Operation_OPERATION_EXPIRE},
		{Key: []byte("no\xfftext\x00"), EntryType: "kv", Operation: pluginv1.Operation_OPERATION_DELETE},
		{Key: []byte("<\"\\\n\u2028 ü &>"), EntryType: "kv", Operation: pluginv1.Operation_OPERATION_PUT},
		{Key: []byte("row"), EntryType: "row", Operation: pluginv1.Operation_OPERATION_PUT, Columns: []string{"a", "b \"ü\""}},
		{Key: []byte("row"), EntryType: "row", Operation: pluginv1.Operation_OPERATION_DELETE_ROW},
		{Key: []byte("object"), EntryType: "lob", Operation: pluginv1.Operation_OPERATION_PUT},
		{Key: []byte("cell"), EntryType: "vector", Operation: pluginv1.Operation_OPERATION_PUT},
		{Key: bytes.Repeat([]byte("k"), 400), EntryType: "kv", Operation: pluginv1.Operation_OPERATION_PUT},
	}}
	number(b.Events, 1)
	b.Events[1].Count, b.Events[1].Index = 0, 0 // of a snapshot
	b.Events[2].Index, b.Events[2].Count = 3, 7
	s.deliver(t, p, b)
	s.arrived(t, b)
}

// large: a batch beyond the 4 MiB that gRPC takes unless it is told otherwise. The
// server of notifiers in this process is told so by the SDK.
func (s notifierChecks) large(t *testing.T) {
	p := s.begin(t)
	b := batch("default", 1, 12)
	column := strings.Repeat("c", 380)
	for _, e := range b.Events {
		e.EntryType = "row"
		for range 1000 {
			e.Columns = append(e.Columns, column)
		}
	}
	s.deliver(t, p, b)
}

// redelivery: the node didn't hear the answer. Nothing but copies may come of it.
func (s notifierChecks) redelivery(t *testing.T) {
	p := s.begin(t)
	b := batch("default", 1, 50)
	for range 3 {
		s.deliver(t, p, b)
	}
	s.arrived(t, b)
}

// refusals: a receiver that fails costs time, not events, and no key's order.
func (s notifierChecks) refusals(t *testing.T) {
	if s.o.Break == nil {
		t.Skip("NotifierOptions.Break isn't there: not tested")
	}
	p := s.begin(t)
	before := batch("default", 1, 10)
	s.deliver(t, p, before)

	mend := s.o.Break(t)
	b := batch("default", 11, 50)
	if answer, err := p.notifier.Notify(deadline(t), b); err == nil && wellFormed(t, b, answer) == 0 {
		t.Error("the receiver was broken, and the whole batch was accepted")
	}
	mend()
	s.deliver(t, p, b)
	s.arrived(t, before, b)
}

// cancellation: a call whose caller has gone harms no other.
func (s notifierChecks) cancellation(t *testing.T) {
	p := s.begin(t)
	b := batch("default", 1, 20)
	gone, cancel := context.WithCancel(deadline(t))
	calls := make(chan struct{})
	go func() {
		defer close(calls)
		if answer, err := p.notifier.Notify(gone, b); err == nil {
			wellFormed(t, b, answer)
		}
	}()
	cancel()
	<-calls
	s.deliver(t, p, b)
	s.arrived(t, b)
}

// unknownFields: fields and operations that a later version adds do no harm.
func (s notifierChecks) unknownFields(t *testing.T) {
	p := s.begin(t)
	b := batch("default", 1, 3)
	later := protoreflect.RawFields{0xfa, 0x3f, 0x01, 'x'} // field 1023, one byte
	b.ProtoReflect().SetUnknown(later)
	b.Events[0].ProtoReflect().SetUnknown(later)
	s.deliver(t, p, b)
	s.arrived(t, b)

	odd := batch("default", 4, 1)
	odd.Events[0].Operation = 99
	if answer, err := p.notifier.Notify(deadline(t), odd); err == nil {
		wellFormed(t, odd, answer)
	}
	next := batch("default", 5, 1)
	s.deliver(t, p, next)
	s.arrived(t, b, next)
}

// drain: what was accepted is handed on, and nothing more is accepted.
func (s notifierChecks) drain(t *testing.T) {
	p := s.begin(t)
	b := batch("default", 1, 20)
	s.deliver(t, p, b)
	if _, err := p.plugin.Drain(deadline(t), &pluginv1.DrainRequest{}); err != nil {
		t.Fatalf("Drain: %v", err)
	}
	s.arrived(t, b)
	next := batch("default", 21, 1)
	if answer, err := p.notifier.Notify(deadline(t), next); err == nil && len(answer.GetRejected()) == 0 {
		t.Error("a batch was accepted after Drain")
	}
}

// deliver sends a batch until everything in it is accepted, as a node does.
func (s notifierChecks) deliver(t *testing.T, p running, b *pluginv1.NotifyRequest) {
	t.Helper()
	if !s.accepted(t, p, b) {
		t.FailNow()
	}
}

// accepted is deliver for goroutines, which can't end a test.
func (s notifierChecks) accepted(t *testing.T, p running, b *pluginv1.NotifyRequest) bool {
	t.Helper()
	ctx := deadline(t)
	rest := b
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		answer, err := p.notifier.Notify(ctx, rest)
		if err == nil {
			wellFormed(t, rest, answer)
			if len(answer.GetRejected()) == 0 {
				return true
			}
			rest = rejectedOf(rest, answer)
			err = fmt.Errorf("%d events are rejected: %s", len(rest.GetEvents()), answer.GetRejected()[0].GetReason())
			pause = max(pause, answer.GetRetryAfter().AsDuration())
		}
		select {
		case <-ctx.Done():
			t.Errorf("a batch of %q isn't accepted: %v", b.GetNamespace(), err)
			return false
		case <-time.After(pause):
		}
	}
}

// rejectedOf is what comes again of a batch.
func rejectedOf(b *pluginv1.NotifyRequest, answer *pluginv1.NotifyResponse) *pluginv1.NotifyRequest {
	rest := &pluginv1.NotifyRequest{Namespace: b.GetNamespace(), Lineage: b.GetLineage()}
	for _, r := range answer.GetRejected() {
		if int(r.GetEvent()) < len(b.GetEvents()) {
			rest.Events = append(rest.Events, b.GetEvents()[r.GetEvent()])
		}
	}
	return rest
}

// wellFormed checks an answer, and gives the number of events that it rejects.
func wellFormed(t *testing.T, b *pluginv1.NotifyRequest, answer *pluginv1.NotifyResponse) int {
	t.Helper()
	blocked := map[string]bool{}
	rejected := map[int]bool{}
	last := -1
	for _, r := range answer.GetRejected() {
		i := int(r.GetEvent())
		if i <= last || i >= len(b.GetEvents()) {
			t.Errorf("event %d of %d is rejected behind event %d: they have to rise", i, len(b.GetEvents()), last)
			return len(answer.GetRejected())
		}
		if c := r.GetCause(); c < pluginv1.Rejection_CAUSE_UNAVAILABLE || c > pluginv1.Rejection_CAUSE_BLOCKED {
			t.Errorf("event %d is rejected with the cause %v", i, c)
		}
		last, rejected[i] = i, true
	}
	for i, e := range b.GetEvents() {
		key := e.GetEntryType() + "\x00" + string(e.GetKey())
		if blocked[key] && !rejected[i] {
			t.Errorf("event %d, of the key %q, is accepted behind one that isn't", i, e.GetKey())
		}
		blocked[key] = blocked[key] || rejected[i]
	}
	return len(rejected)
}

// arrived checks that the receiver has all that was sent, each event as it was
// sent, and each key's events in order. Copies may stand among them, and nothing
// else that wasn't sent.
func (s notifierChecks) arrived(t *testing.T, sent ...*pluginv1.NotifyRequest) {
	t.Helper()
	if s.o.Received == nil {
		return
	}
	got := map[string][]string{} // the identities of a key's events, in order of arrival
	for _, m := range s.o.Received(t) {
		if slices.Contains(operations, m.Operation) {
			got[keyOf(m)] = append(got[keyOf(m)], identity(m))
		}
	}
	want := map[string][]string{}
	for _, r := range sent {
		b := notifier.BatchOf(r)
		for i := range b.Events {
			m := b.Message(i)
			want[keyOf(m)] = append(want[keyOf(m)], identity(m))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(union(want, got))) {
		if firsts := withoutCopies(got[key]); !slices.Equal(want[key], firsts) {
			t.Errorf("of %s the receiver got, leaving copies out,\n  %s\nand was sent\n  %s", key, strings.Join(firsts, "\n  "), strings.Join(want[key], "\n  "))
			return
		}
	}
}

// operations are those that a suite sends and a receiver has a name for.
var operations = []notifier.Operation{notifier.Put, notifier.Delete, notifier.DeleteRow, notifier.Expire, notifier.Reset}

func union[V any](a, b map[string]V) map[string]V {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

func keyOf(m notifier.Message) string {
	return fmt.Sprintf("%s %s %q", m.Namespace, m.EntryType, m.Key)
}

// identity is all of an event. A receiver may not be told the lineage.
func identity(m notifier.Message) string {
	return fmt.Sprintf("%s lsn %d.%d.%d of %d at %s, columns [%s]", m.Operation, m.Epoch, m.LSN, m.Index, m.Count,
		m.Time.UTC().Format(time.RFC3339Nano), strings.Join(m.Columns, ", "))
}

// withoutCopies leaves the first of each.
func withoutCopies(events []string) []string {
	var firsts []string
	seen := map[string]bool{}
	for _, e := range events {
		if !seen[e] {
			firsts = append(firsts, e)
		}
		seen[e] = true
	}
	return firsts
}

// lineage is that of all namespaces of a suite.
const lineage = "0123456789abcdef0123456789abcdef"

// batch makes n puts from an LSN on, of few keys, so that each comes often.
func batch(namespace string, lsn uint64, n int) *pluginv1.NotifyRequest {
	b := &pluginv1.NotifyRequest{Namespace: namespace, Lineage: lineage}
	for i := range n {
		b.Events = append(b.Events, &pluginv1.Event{
			Key: fmt.Appendf(nil, "key-%d", i%7), EntryType: "kv", Operation: pluginv1.Operation_OPERATION_PUT,
		})
	}
	number(b.Events, lsn)
	return b
}

// number gives events LSNs from one on.
func number(events []*pluginv1.Event, lsn uint64) {
	for i, e := range events {
		e.Lsn, e.Epoch, e.Index, e.Count = lsn+uint64(i), 1<<20, 0, 1
		e.TimeUnixNano = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano() + int64(e.Lsn)
	}
}
