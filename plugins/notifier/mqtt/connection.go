package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

const (
	connectTimeout = 10 * time.Second // for a connection, TLS and MQTT included
	keepAlive      = 30               // seconds; a dead broker is noticed within two of them
)

// connection is one MQTT connection.
type connection struct {
	host     string
	client   *paho.Client
	wire     *wire
	messages *messages
	patience time.Duration // settings.answerTimeout
	largest  int           // packet that the broker takes, in bytes; 0: any
}

// dial makes a connection. Its errors are for people.
func dial(ctx context.Context, s settings) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := dialNetwork(ctx, s)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn}
	c := &connection{host: s.host, wire: w, messages: newMessages(w), patience: s.answerTimeout}
	c.client = paho.NewClient(paho.ClientConfig{
		Conn: w, Session: c.messages, PacketTimeout: s.answerTimeout,
		OnServerDisconnect: func(*paho.Disconnect) {}, // messages keeps it
	})
	// Without this, paho makes room for 65,535 messages.
	receive := uint16(1)
	ack, err := c.client.Connect(ctx, &paho.Connect{
		ClientID: s.clientID, KeepAlive: keepAlive, CleanStart: true,
		UsernameFlag: s.Username != "", Username: s.Username,
		PasswordFlag: s.Password != "", Password: []byte(s.Password),
		Properties: &paho.ConnectProperties{
			ReceiveMaximum: &receive,
			User:           paho.UserProperties{{Key: "node_id", Value: s.nodeID}, {Key: "notifier", Value: s.block}},
		},
	})
	if err != nil {
		_ = conn.Close()
		return nil, refused(s, ack, err)
	}
	if err := c.agree(ack.Properties, s); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// dialNetwork connects without regard to proxies that the environment names: the
// node hands its plugins none.
func dialNetwork(ctx context.Context, s settings) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.host)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	if !s.secure {
		return conn, nil
	}
	c, err := s.TLS.client(s.host)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	t := tls.Client(conn, c)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		var unknown *tls.CertificateVerificationError
		if errors.As(err, &unknown) {
			return nil, fmt.Errorf("the broker %s shows a certificate that isn't trusted: %w: name its CA in tls.ca_file, or connect by a name that it holds", s.host, err)
		}
		return nil, fmt.Errorf("TLS with the broker %s: %w: check that the port expects TLS, and whether it asks for a certificate", s.host, err)
	}
	return t, nil
}

// refused says why a broker didn't accept the connection.
func refused(s settings, ack *paho.Connack, err error) error {
	if ack != nil && ack.ReasonCode >= 0x80 {
		said := ""
		if ack.Properties != nil {
			said = ack.Properties.ReasonString
		}
		what := describe(ack.ReasonCode, said)
		if ack.ReasonCode == packets.ConnackNotAuthorized {
			what = "not authorized (0x87): check username and password, and whether this user may connect"
		}
		return fmt.Errorf("the broker %s refused the connection: %s", s.host, what)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("the broker %s ended the connection before it answered: check that it speaks MQTT 5, and that the port is right for %s", s.host, scheme(s))
	}
	return fmt.Errorf("the broker %s didn't accept the connection: %w", s.host, err)
}

func scheme(s settings) string {
	if s.secure {
		return "mqtts://"
	}
	return "mqtt://"
}

// agree holds what the broker offers against what is configured.
func (c *connection) agree(p *paho.ConnackProperties, s settings) error {
	if p == nil {
		return nil
	}
	if p.MaximumQoS != nil && s.QoS > int(*p.MaximumQoS) {
		return fmt.Errorf("the broker %s offers QoS %d at most: set qos = %d, or use another broker", s.host, *p.MaximumQoS, *p.MaximumQoS)
	}
	if !p.RetainAvailable && s.Retain {
		return fmt.Errorf("the broker %s keeps no retained messages: set retain = false, or use another broker", s.host)
	}
	if p.MaximumPacketSize != nil {
		c.largest = int(*p.MaximumPacketSize)
	}
	return nil
}

// lost reports whether the connection has ended.
func (c *connection) lost() bool { return c.messages.isLost() }

// why says, to people, why the connection ended; blamed means that a message
// may be the cause.
func (c *connection) why() (reason string, code byte, blamed bool) {
	c.messages.mu.Lock()
	dp := c.messages.why
	c.messages.mu.Unlock()
	if dp == nil {
		return fmt.Sprintf("the connection to the broker %s was lost", c.host), 0, false
	}
	return fmt.Sprintf("the broker %s ended the connection: %s", c.host, describe(dp.ReasonCode, said(dp.Properties))), dp.ReasonCode, blames(dp.ReasonCode)
}

// close ends the connection, politely where it is up, and waits until it has.
func (c *connection) close() {
	_ = c.client.Disconnect(&paho.Disconnect{ReasonCode: packets.DisconnectNormalDisconnection}) // it may be gone already
}

// abort ends a connection that doesn't answer.
func (c *connection) abort() {
	_ = c.wire.Close() // the reader, which sees the end, does the rest
}

// broker is the way to the broker: at most one connection at a time, made when it
// is needed. There is no loop that reconnects: the node sends again what wasn't
// accepted, and waits longer between tries.
type broker struct {
	settings settings
	turn     chan struct{} // holds an element while somebody connects

	mu       sync.Mutex
	current  *connection
	closed   bool
	failed   error // the last try's
	failedAt time.Time
}

func newBroker(s settings) *broker { return &broker{settings: s, turn: make(chan struct{}, 1)} }

// connect is the connection, a new one where there is none.
func (b *broker) connect(ctx context.Context) (*connection, error) {
	asked := time.Now()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c, err := b.existing(asked)
	if c != nil || err != nil {
		return c, err
	}
	c, err = dial(ctx, b.settings)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failed, b.failedAt = err, time.Now()
		return nil, err
	}
	if b.closed {
		c.close()
		return nil, net.ErrClosed
	}
	b.current, b.failed = c, nil
	return c, nil
}

// existing is the connection that is up, or the failure of somebody who tried
// while the caller was waiting.
func (b *broker) existing(asked time.Time) (*connection, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, net.ErrClosed
	}
	if b.current != nil && !b.current.lost() {
		return b.current, nil
	}
	if b.current != nil {
		<-b.current.client.Done()
		b.current = nil
	}
	if b.failed != nil && b.failedAt.After(asked) {
		return nil, b.failed
	}
	return nil, nil
}

// close ends the connection and lets none follow.
func (b *broker) close() {
	b.mu.Lock()
	c := b.current
	b.current, b.closed = nil, true
	b.mu.Unlock()
	if c != nil {
		c.close()
	}
}
