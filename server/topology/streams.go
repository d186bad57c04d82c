package topology

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/unisondb/unisondb/server/certs"
)

// A connection between hubs begins, inside TLS where there is any, with a greeting of the end that
// has dialled, and an answer. Both are a magic number, the length of what follows, 4 bytes
// big-endian, and JSON. After them Raft speaks.
const (
	raftProtocol  = "unisondb-raft" // in TLS
	greetingMagic = "udbraft1"
	maxGreeting   = 4 << 10
)

// greeting says who dials whom.
type greeting struct {
	From raft.ServerID `json:"from"`
	To   raft.ServerID `json:"to"`
}

// welcome is the answer; a reason refuses.
type welcome struct {
	Reason string `json:"reason,omitempty"`
}

// greetTimeout is how long the other end may take for its part.
const greetTimeout = 5 * time.Second

// streams are Raft's connections to other hubs. Each is between two members, and not
// merely two addresses.
type streams struct {
	net.Listener
	advertise string
	self      raft.ServerID
	certs     *certs.Store // nil: plain text
	log       hclog.Logger
	ready     chan net.Conn

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func newStreams(l net.Listener, advertise string, self raft.ServerID, store *certs.Store, log hclog.Logger) *streams {
	s := &streams{
		Listener: l, advertise: advertise, self: self, certs: store, log: log,
		ready: make(chan net.Conn), open: make(map[net.Conn]struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.run)
	return s
}

// run accepts connections, and greets each in a goroutine of its own.
func (s *streams) run() {
	for {
		raw, err := s.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("a connection of another hub can't be accepted", "error", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.ctx.Done():
				return
			}
		}
		s.wg.Go(func() { s.take(raw) })
	}
}

// acceptPause is after a failed accept, which too many open files are a reason for.
const acceptPause = 100 * time.Millisecond

// take hands a connection to Raft when the other end has said who it is.
func (s *streams) take(raw net.Conn) {
	defer context.AfterFunc(s.ctx, func() { _ = raw.Close() })()
	conn, err := s.greeted(raw)
	if err != nil {
		_ = raw.Close()
		if s.ctx.Err() == nil {
			s.log.Debug("a connection to the raft address came to nothing", "remote", raw.RemoteAddr(), "error", err)
		}
		return
	}
	select {
	case s.ready <- s.tracked(conn):
	case <-s.ctx.Done():
		_ = conn.Close()
	}
}

// greeted secures a connection, and reads for whom it is.
func (s *streams) greeted(raw net.Conn) (net.Conn, error) {
	conn := raw
	if s.certs != nil {
		secured, err := s.certs.AcceptHub(s.ctx, raw, raftProtocol)
		if err != nil {
			return nil, err
		}
		conn = secured
	}
	if err := conn.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return nil, err
	}
	var hello greeting
	if err := receive(conn, &hello); err != nil {
		part(conn, err)
		return nil, err
	}
	err := s.check(conn, hello)
	answer := welcome{}
	if err != nil {
		answer.Reason = err.Error()
	}
	if err := errors.Join(err, send(conn, answer)); err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

// part tells who has said something else than a greeting that it is at the wrong place. What it has sent
// beyond that is read first: closed with it unread the connection would be reset, and the words lost.
func part(conn net.Conn, reason error) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || send(conn, welcome{Reason: reason.Error()}) != nil || half.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, maxGreeting)
}

// check refuses who takes this hub for another, or isn't who it says it is.
func (s *streams) check(conn net.Conn, hello greeting) error {
	if hello.To != s.self {
		id, instance := splitID(hello.To)
		own, mine := splitID(s.self)
		return fmt.Errorf("this is hub %q, instance %s, and no longer or not yet hub %q, instance %s", own, mine, id, instance)
	}
	if secured, ok := conn.(*tls.Conn); ok {
		id, _ := splitID(hello.From)
		return s.certs.CheckHub(secured, id)
	}
	return nil
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It ends all connections, too, whichever end has dialled.
func (s *streams) Close() error {
	s.cancel()
	err := s.Listener.Close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close() // whoever uses it sees that
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// tracked is a connection that Close ends, too.
func (s *streams) tracked(c net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[c] = struct{}{}
	if s.ctx.Err() != nil {
		_ = c.Close()
	}
	return &trackedConn{Conn: c, of: s}
}

type trackedConn struct {
	net.Conn
	of *streams
}

// Read implements net.Conn. That this hub stops is no error to write into the log.
func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c.Conn)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// Addr implements net.Listener: it is what the other hubs dial.
func (s *streams) Addr() net.Addr { return advertised(s.advertise) }

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// Dial implements raft.StreamLayer. address has the member that is to be there before the @.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	to, at, ok := strings.Cut(string(address), "@")
	if !ok {
		return nil, fmt.Errorf("%q names no member", address)
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	conn, err := s.greet(ctx, raw, at, raft.ServerID(to))
	if err != nil {
		_ = raw.Close() // it may be closed already
		return nil, err
	}
	return s.tracked(conn), nil
}

// greet secures a connection and says for whom it is.
func (s *streams) greet(ctx context.Context, raw net.Conn, at string, to raft.ServerID) (net.Conn, error) {
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now()) })()
	conn := raw
	if s.certs != nil {
		host, _, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		secured, err := s.certs.DialHub(ctx, raw, host, raftProtocol)
		if err != nil {
			return nil, err
		}
		id, _ := splitID(to)
		if err := s.certs.CheckHub(secured, id); err != nil {
			return nil, err
		}
		conn = secured
	}
	var answer welcome
	err := send(conn, greeting{From: s.self, To: to})
	if err == nil {
		err = receive(conn, &answer)
	}
	switch {
	case err != nil && s.certs != nil:
		return nil, s.certs.Explain(err)
	case err != nil:
		return nil, err
	case answer.Reason != "":
		return nil, fmt.Errorf("the hub at %s refuses the connection: %s", at, answer.Reason)
	}
	return conn, nil
}

func send(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b := append([]byte(greetingMagic), binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	_, err = w.Write(append(b, body...))
	return err
}

func receive(r io.Reader, v any) error {
	var head [len(greetingMagic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[len(greetingMagic):])
	if string(head[:len(greetingMagic)]) != greetingMagic || n > maxGreeting {
		return errors.New("the other end doesn't speak as a hub's raft address does: check the address")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
