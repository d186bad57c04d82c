package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
)

// errLost is why a message has no acknowledgement where its connection ended.
var errLost = errors.New("the connection to the broker ended")

// answer is the end of a message: the broker's reason code, or that there will be
// none.
type answer struct {
	code   byte
	reason string // the broker's words, if it had any
	err    error
}

// answerKey finds, in the context of a publish, the function that takes the answer.
type answerKey struct{}

// withAnswer has the answer to a publish under the context go to a function. It is
// called once, and must not block. paho itself returns an answer only to those who
// wait for it, one message at a time.
func withAnswer(ctx context.Context, fn func(answer)) context.Context {
	return context.WithValue(ctx, answerKey{}, fn)
}

// messages is the state of one connection's messages that the broker hasn't
// acknowledged. It ends with the connection: nothing is sent again by MQTT's own
// means (see DESIGN.md). It implements paho's session.SessionManager for a client
// that only publishes.
type messages struct {
	wire *wire
	lost chan struct{} // closed with the connection

	quota    chan struct{} // a place for each message that may be under way; made before the first
	answered atomic.Uint64 // how many answers came

	mu      sync.Mutex
	next    uint16
	pending map[uint16]func(answer)
	why     *packets.Disconnect // by which the broker ended the connection
}

var _ session.SessionManager = (*messages)(nil)

func newMessages(w *wire) *messages {
	return &messages{wire: w, lost: make(chan struct{}), pending: map[uint16]func(answer){}}
}

// ConAckReceived begins the connection.
func (m *messages) ConAckReceived(_ io.Writer, _ *packets.Connect, ca *packets.Connack) error {
	limit := uint16(math.MaxUint16)
	if ca.Properties != nil && ca.Properties.ReceiveMaximum != nil {
		limit = *ca.Properties.ReceiveMaximum
	}
	if limit == 0 {
		return errors.New("the broker breaks the protocol: it takes no messages at all (receive maximum 0)")
	}
	m.quota = make(chan struct{}, limit)
	return nil
}

// AddToSession numbers a message, once the broker takes one more.
func (m *messages) AddToSession(ctx context.Context, p session.Packet, _ chan<- packets.ControlPacket) error {
	fn, ok := ctx.Value(answerKey{}).(func(answer))
	if !ok {
		return errors.New("nobody takes the answer")
	}
	if err := m.acquire(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isLost() {
		return errLost
	}
	// The quota leaves numbers free, at most 65,535 being in use.
	for m.next++; m.next == 0 || m.pending[m.next] != nil; m.next++ {
	}
	m.pending[m.next] = fn
	p.SetIdentifier(m.next)
	return nil
}

// acquire takes a place of the quota; what was gathered goes out before it waits.
func (m *messages) acquire(ctx context.Context) error {
	select {
	case m.quota <- struct{}{}:
		return nil
	default:
	}
	m.wire.await()
	defer m.wire.resume()
	select {
	case m.quota <- struct{}{}:
		return nil
	case <-m.lost:
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *messages) isLost() bool {
	select {
	case <-m.lost:
		return true
	default:
		return false
	}
}

// PacketReceived takes an acknowledgement.
func (m *messages) PacketReceived(p *packets.ControlPacket, _ chan<- *packets.Publish) error {
	switch c := p.Content.(type) {
	case *packets.Puback:
		m.end(c.PacketID, answer{code: c.ReasonCode, reason: said(c.Properties)})
	case *packets.Pubrec:
		if c.ReasonCode >= packets.PubrecUnspecifiedError {
			m.end(c.PacketID, answer{code: c.ReasonCode, reason: said(c.Properties)})
			return nil
		}
		_, err := (&packets.Pubrel{PacketID: c.PacketID}).WriteTo(m.wire)
		return err
	case *packets.Pubcomp:
		m.end(c.PacketID, answer{code: c.ReasonCode, reason: said(c.Properties)})
	default:
		return fmt.Errorf("packet %d was not expected", p.Type)
	}
	return nil
}

func said(p *packets.Properties) string {
	if p == nil {
		return ""
	}
	return p.ReasonString
}

// end hands an answer on.
func (m *messages) end(id uint16, a answer) {
	m.mu.Lock()
	fn := m.pending[id]
	delete(m.pending, id)
	m.mu.Unlock()
	if fn == nil {
		return // none of ours: a broker that answers twice
	}
	<-m.quota // it has the message's place
	m.answered.Add(1)
	fn(a)
}

// ConnectionLost ends what is under way. It may be called more than once.
func (m *messages) ConnectionLost(dp *packets.Disconnect) error {
	m.mu.Lock()
	if m.isLost() {
		m.mu.Unlock()
		return nil
	}
	m.why = dp
	close(m.lost)
	pending := m.pending
	m.pending = map[uint16]func(answer){}
	m.mu.Unlock()
	for _, fn := range pending {
		fn(answer{err: errLost})
	}
	return nil
}

// Ack is for messages that are received, and there are none.
func (m *messages) Ack(*packets.Publish) error { return nil }

// Close does nothing: the connection's end is enough.
func (m *messages) Close() error { return nil }

// SetErrorLogger does nothing: errors are returned.
func (m *messages) SetErrorLogger(log.Logger) {}

// SetDebugLogger does nothing.
func (m *messages) SetDebugLogger(log.Logger) {}
