package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/pebbe/zmq4"
)

// publisher owns the PUB socket. A ZeroMQ socket may go from thread to thread,
// but never be used by two at once: whoever holds mu has it.
type publisher struct {
	context *zmq4.Context
	gate    *gate // nil: everybody may subscribe

	mu     sync.Mutex
	socket *zmq4.Socket // nil: closed
}

// bindTimeout is how long an address may stay in use: that of a plugin whose
// node was killed is, until it has noticed. bindInterval is between tries.
const (
	bindTimeout  = 3 * time.Second
	bindInterval = 20 * time.Millisecond
)

// listen binds the socket.
func listen(ctx context.Context, s settings, logger hclog.Logger) (*publisher, error) {
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	for {
		p, err := tryListen(s, logger)
		var bind *bindError
		if err == nil || !errors.As(err, &bind) || !bind.inUse() {
			return p, err
		}
		select {
		case <-time.After(bindInterval):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func tryListen(s settings, logger hclog.Logger) (_ *publisher, err error) {
	ctx, err := zmq4.NewContext()
	if err != nil {
		return nil, fmt.Errorf("make a ZeroMQ context: %w", err)
	}
	p := &publisher{context: ctx}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close(0))
		}
	}()
	if s.Curve != nil && s.Curve.AllowedClients[0] != anyClient {
		if p.gate, err = openGate(ctx, s.Curve.AllowedClients, logger); err != nil {
			return nil, err
		}
	}
	if p.socket, err = ctx.NewSocket(zmq4.PUB); err != nil {
		return nil, fmt.Errorf("make a ZeroMQ socket: %w", err)
	}
	if err := configure(p.socket, s); err != nil {
		return nil, fmt.Errorf("configure the ZeroMQ socket: %w", err)
	}
	if s.path != "" && answers(s.path) {
		return nil, &bindError{endpoint: s.endpoint, err: zmq4.EADDRINUSE}
	}
	if err := p.socket.Bind(s.endpoint); err != nil {
		return nil, &bindError{endpoint: s.endpoint, err: err}
	}
	return p, nil
}

// answers reports whether somebody listens at a socket of the file system.
// libzmq doesn't ask: it removes the file, and the other one is deaf.
func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func configure(socket *zmq4.Socket, s settings) error {
	err := errors.Join(
		socket.SetSndhwm(s.HighWaterMark),
		socket.SetIpv6(s.ipv6),
		// Half-open connections end, and their queues with them.
		socket.SetHeartbeatIvl(10*time.Second),
		socket.SetHeartbeatTimeout(30*time.Second),
	)
	if s.Curve == nil {
		return err
	}
	err = errors.Join(err, socket.SetCurveServer(1), socket.SetCurveSecretkey(s.Curve.SecretKey))
	if s.Curve.AllowedClients[0] != anyClient {
		err = errors.Join(err, socket.SetZapDomain(zapDomain))
	}
	return err
}

// send hands a message to the subscribers' queues; it never waits.
func (p *publisher) send(topic string, body []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.socket == nil {
		return errors.New("the notifier was stopped")
	}
	if _, err := p.socket.SendBytes([]byte(topic), zmq4.SNDMORE|zmq4.DONTWAIT); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	if _, err := p.socket.SendBytes(body, zmq4.DONTWAIT); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}

// close sends what waits for subscribers, for so long at most, and ends.
func (p *publisher) close(linger time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.socket != nil {
		err = errors.Join(p.socket.SetLinger(max(0, linger)), p.socket.Close())
		p.socket = nil
	}
	// This also ends the gate, and waits for both.
	err = errors.Join(err, p.context.Term())
	if p.gate != nil {
		<-p.gate.done
	}
	return err
}

// bindError says why a socket can't be bound.
type bindError struct {
	endpoint string
	err      error
}

func (e *bindError) Error() string { return fmt.Sprintf("bind %s: %v", e.endpoint, e.err) }

func (e *bindError) Unwrap() error { return e.err }

func (e *bindError) inUse() bool { return zmq4.AsErrno(e.err) == zmq4.EADDRINUSE }

// problem names the argument to blame, with what to do.
func (e *bindError) problem(s settings) (path, message string) {
	path = "bind_address"
	switch zmq4.AsErrno(e.err) {
	case zmq4.EADDRINUSE:
		if s.path != "" {
			return path, fmt.Sprintf("another program listens at %s: choose another path, or stop that program", s.path)
		}
		return "bind_port", fmt.Sprintf("another program uses port %d of %s: choose another port, or stop that program", s.BindPort, s.BindAddress)
	case zmq4.EADDRNOTAVAIL, zmq4.Errno(syscall.ENODEV):
		return path, fmt.Sprintf("%s is no address of this machine: choose one that it has", s.BindAddress)
	case zmq4.Errno(syscall.EACCES), zmq4.Errno(syscall.EPERM):
		if s.path == "" {
			return "bind_port", fmt.Sprintf("the node may not use port %d: choose one from 1024 up", s.BindPort)
		}
		return path, fmt.Sprintf("the node may not make a socket at %s: choose a folder that it may write to", s.BindAddress)
	}
	return path, fmt.Sprintf("%v: choose another address", e)
}
