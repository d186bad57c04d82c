package main

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/pebbe/zmq4"
)

// zapEndpoint is where libzmq asks who may come in (ZeroMQ RFC 27, ZAP).
const zapEndpoint = "inproc://zeromq.zap.01"

// zapDomain has libzmq ask for our socket.
const zapDomain = "unisondb"

// gate answers libzmq which clients may subscribe. It isn't the one of package
// zmq4: that is shared by all sockets of a process, never ends cleanly, and
// panics at what it doesn't expect.
type gate struct {
	socket  *zmq4.Socket
	allowed map[string]bool // public keys, as text
	logger  hclog.Logger
	done    chan struct{} // closed when the gate has ended, with its context
}

func openGate(ctx *zmq4.Context, allowed []string, logger hclog.Logger) (*gate, error) {
	socket, err := ctx.NewSocket(zmq4.REP)
	if err != nil {
		return nil, fmt.Errorf("make a ZeroMQ socket: %w", err)
	}
	if err := errors.Join(socket.SetLinger(0), socket.Bind(zapEndpoint)); err != nil {
		return nil, errors.Join(fmt.Errorf("bind the gate for clients: %w", err), socket.Close())
	}
	g := &gate{socket: socket, allowed: map[string]bool{}, logger: logger, done: make(chan struct{})}
	for _, key := range allowed {
		g.allowed[key] = true
	}
	go g.run()
	return g, nil
}

// run answers until the context is ended, which fails the socket.
func (g *gate) run() {
	defer close(g.done)
	defer func() { _ = g.socket.Close() }() // there is nobody to tell, and nothing to do
	for {
		request, err := g.socket.RecvMessage(0)
		if err != nil {
			return
		}
		if _, err := g.socket.SendMessage(g.answer(request)); err != nil {
			return
		}
	}
}

// Frames of a request: version, id, domain, address, identity, mechanism,
// credentials.
const (
	zapID        = 1
	zapAddress   = 3
	zapMechanism = 5
	zapKey       = 6
	zapFrames    = 7
)

// answer says whether a client may come in: "200" lets it, "400" doesn't.
func (g *gate) answer(request []string) []string {
	if len(request) != zapFrames || request[zapMechanism] != "CURVE" || len(request[zapKey]) != 32 {
		return []string{"1.0", request[min(zapID, len(request)-1)], "400", "this socket wants CURVE", "", ""}
	}
	key := zmq4.Z85encode(request[zapKey])
	if !g.allowed[key] {
		g.logger.Debug("a subscriber was refused: its key isn't in allowed_clients", "address", request[zapAddress], "public_key", key)
		return []string{"1.0", request[zapID], "400", "this key isn't in allowed_clients", "", ""}
	}
	return []string{"1.0", request[zapID], "200", "OK", "", ""}
}
