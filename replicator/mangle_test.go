package replicator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/replicator/internal/replicatortest"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// mangler is a stream between a source and a sink that loses, repeats,
// exchanges and damages what the source says: more than any network may.
type mangler struct {
	ctx  context.Context
	down chan *dbv1.SourceMessage
	up   chan *dbv1.SinkMessage

	mu   sync.Mutex
	rand *rand.Rand
	held *dbv1.SourceMessage // comes after the next one
	evil int                 // one message in so many is mangled; 0: none
}

func (m *mangler) Context() context.Context { return m.ctx }

// sourceEnd and sinkEnd are the stream as each end sees it.
type (
	sourceEnd struct{ *mangler }
	sinkEnd   struct{ *mangler }
)

func (s sourceEnd) Send(msg *dbv1.SourceMessage) error {
	for _, out := range s.mangle(proto.CloneOf(msg)) {
		select {
		case s.down <- out:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	return nil
}

// mangle answers what is sent instead of msg.
func (m *mangler) mangle(msg *dbv1.SourceMessage) []*dbv1.SourceMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []*dbv1.SourceMessage{msg}
	if m.held != nil {
		out = append(out, m.held)
		m.held = nil
	}
	if m.evil == 0 || m.rand.IntN(m.evil) != 0 {
		return out
	}
	switch m.rand.IntN(5) {
	case 0:
		return out[1:]
	case 1:
		return append(out, proto.CloneOf(msg))
	case 2:
		m.held = msg
		return out[1:]
	case 3:
		if b := oneBatch(msg).GetRecords(); len(b) > 0 {
			b[m.rand.IntN(len(b))] ^= 1 << m.rand.IntN(8)
		}
	default:
		if b := oneBatch(msg); b != nil {
			b.FirstLsn += uint64(m.rand.IntN(3)) - 1
			b.LastLsn += uint64(m.rand.IntN(3)) - 1
			b.CommitLsn += uint64(m.rand.IntN(3)) - 1
			b.PartOffset += uint32(m.rand.IntN(2))
		}
	}
	return out
}

// SendMsg implements replicator.SourceStream.
func (s sourceEnd) SendMsg(msg any) error {
	data, err := replicator.Codec().Marshal(msg)
	if err != nil {
		return err
	}
	defer data.Free()
	out := new(dbv1.SourceMessage)
	if err := replicator.Codec().Unmarshal(data, out); err != nil {
		return err
	}
	return s.Send(out)
}

// oneBatch is the last batch of a message, nil where it has none.
func oneBatch(m *dbv1.SourceMessage) *dbv1.Batch {
	if n := len(m.GetBatches()); n > 0 {
		return m.GetBatches()[n-1]
	}
	return nil
}

func (s sourceEnd) Recv() (*dbv1.SinkMessage, error) { return recv(s.ctx, s.up) }

func (s sinkEnd) Send(msg *dbv1.SinkMessage) error {
	select {
	case s.up <- proto.CloneOf(msg):
		return nil
	case <-s.ctx.Done():
		return io.EOF
	}
}

func (s sinkEnd) Recv() (*dbv1.SourceMessage, error) { return recv(s.ctx, s.down) }

func recv[M any](ctx context.Context, c chan M) (m M, err error) {
	select {
	case m = <-c:
		return m, nil
	case <-ctx.Done():
		return m, ctx.Err()
	}
}

// TestMangledStreams: whatever a stream does to messages, a sink takes no record that
// isn't the owner's, none twice and none out of order, and gets them all once
// the stream behaves.
func TestMangledStreams(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) { mangled(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func mangled(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 9))
	from, to := replicatortest.NewStore(seed), replicatortest.NewStore(seed)
	l := from.Add(ns, lineage)
	l.StartEpoch(1)
	to.Prepare = func(replica *replicatortest.Log) {
		replica.OnAppend = func(lsn uint64, record []byte) {
			if string(l.Get(lsn)) != string(record) || lsn > l.Status().CommitLSN {
				t.Errorf("LSN %d isn't the owner's", lsn)
			}
		}
	}
	source := replicator.NewSource(replicator.SourceOptions{NodeID: "hub", Store: from, Heartbeat: 50 * time.Millisecond})
	sink := replicator.NewSink(replicator.SinkOptions{NodeID: "edge", Namespace: ns, Store: to})
	for try := range 24 {
		for range r.IntN(30) {
			l.Write(payload(r.IntN(1000)))
		}
		if r.IntN(50) == 0 {
			l.Write(make([]byte, 1<<20+r.IntN(1000)))
		}
		evil := 1 + r.IntN(10)
		if try >= 20 {
			evil = 0
		}
		oneStream(source, sink, r, evil)
	}
	if got, want := to.Log(ns).Status().CommitLSN, l.Status().CommitLSN; got != want {
		t.Errorf("LSN %d in the end, the owner has %d; %+v", got, want, sink.Status())
	}
	source.Close()
	sink.Wait()
}

var errStreamOver = errors.New("the stream is over")

// oneStream runs a stream for a while.
func oneStream(source *replicator.Source, sink *replicator.Sink, r *rand.Rand, evil int) {
	ctx, cancel := context.WithCancelCause(context.Background())
	m := &mangler{
		ctx: ctx, down: make(chan *dbv1.SourceMessage, r.IntN(5)), up: make(chan *dbv1.SinkMessage, r.IntN(5)),
		rand: rand.New(rand.NewPCG(r.Uint64(), 1)), evil: evil,
	}
	var ends sync.WaitGroup
	ends.Go(func() {
		// How it ends is the test's doing.
		_ = source.Serve(sourceEnd{m})
		cancel(errStreamOver)
	})
	ends.Go(func() {
		_, _ = sink.Run(ctx, cancel, sinkEnd{m}, "hub")
		cancel(errStreamOver)
	})
	length := time.Duration(r.IntN(300)) * time.Millisecond
	if evil == 0 {
		length = time.Second
	}
	over := time.AfterFunc(length, func() { cancel(errStreamOver) })
	ends.Wait()
	over.Stop()
	sink.Wait()
}

// TestRawProtocol speaks to a source message by message.
func TestRawProtocol(t *testing.T) {
	for _, tt := range []struct {
		name string
		say  *dbv1.SinkMessage
		code string
	}{
		{"a newer protocol", &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: &dbv1.SinkHello{
			ProtocolVersion: 3, MinProtocolVersion: 3, NodeId: "x", Namespace: ns}}}, replicator.CodeUnsupportedProtocol},
		{"no hello", &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Ack{Ack: &dbv1.Ack{}}}, replicator.CodeInvalidMessage},
		{"nothing that is known", &dbv1.SinkMessage{}, replicator.CodeInvalidMessage},
		{"another namespace", &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: &dbv1.SinkHello{
			ProtocolVersion: 1, MinProtocolVersion: 1, NodeId: "x", Namespace: "other"}}}, replicator.CodeNamespaceNotFound},
		{"silence", nil, replicator.CodeInvalidMessage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair(t, func(owner, relayer *node) {
				owner.ownerLog()
				stream, done := relayer.raw("hub")
				defer done()
				if tt.say != nil {
					if err := stream.Send(tt.say); err != nil {
						t.Fatal(err)
					}
				}
				m, err := stream.Recv()
				if r := m.GetAnswer().GetRefused(); err != nil || r.GetCode() != tt.code || r.GetReason() == "" {
					t.Fatalf("%v, %v", m, err)
				}
				_, err = stream.Recv()
				if got := errorInfo(err); got != tt.code {
					t.Errorf("the stream ended with %v, code %q", err, got)
				}
			})
		})
	}
}

// TestPartsAndLies: a sink with a small limit gets small parts; one that acknowledges
// what it can't have is cut off.
func TestPartsAndLies(t *testing.T) {
	pair(t, func(owner, relayer *node) {
		l := owner.ownerLog()
		l.Write(make([]byte, 10_000))
		stream, done := relayer.raw("hub")
		defer done()
		hello := &dbv1.SinkHello{ProtocolVersion: 1, MinProtocolVersion: 1, NodeId: "x", Namespace: ns, MaxPartBytes: 4096}
		if err := stream.Send(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: hello}}); err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for len(sizes) < 4 {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range m.GetBatches() {
				sizes = append(sizes, len(b.GetRecords()))
			}
		}
		if got := fmt.Sprint(sizes); got != "[38 4096 4096 1832]" {
			t.Errorf("batches of %s bytes", got)
		}
		if err := stream.Send(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Ack{Ack: &dbv1.Ack{DurableLsn: 99}}}); err != nil {
			t.Fatal(err)
		}
		var err error
		for err == nil {
			_, err = stream.Recv()
		}
		if got := errorInfo(err); got != replicator.CodeInvalidMessage {
			t.Errorf("%v", err)
		}
	})
}
