// Package feed subscribes to a node's ZeroMQ notifications, and says when its
// user has to read again because messages may have been lost. It needs nothing but
// the binding of libzmq.
package feed

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/pebbe/zmq4"
)

var errFrames = errors.New("a notification has two frames, topic and JSON: is this the address of UnisonDB's notifier?")

// Kind says what an Event is about.
type Kind int

// Kinds of events.
const (
	// Changed: Event.Message is a change.
	Changed Kind = iota
	// Connected: the subscription stands, for the first time or again. Whatever happened
	// while it didn't was not heard.
	Connected
	// Disconnected: nothing is heard until Connected.
	Disconnected
)

// Event is what a Feed tells.
type Event struct {
	Kind    Kind
	Topic   string
	Message Message
	// Missed says that changes of the topic may have been lost before this one: read
	// again whatever you keep of it.
	Missed bool
}

// Feed is a subscription to one node's notifier. It belongs to one goroutine, as
// ZeroMQ's sockets do.
type Feed struct {
	context *zmq4.Context
	socket  *zmq4.Socket
	monitor *zmq4.Socket // tells of the socket's connection
	gaps    gaps
	ready   []Event
}

const (
	// highWater is how many messages wait in the subscriber. Further ones are lost, and show
	// as a gap.
	highWater = 10_000
	// heartbeat finds out that a connection is dead though nobody closed it.
	heartbeat = 2 * time.Second
	// tick is how often Next looks at its context.
	tick = 50 * time.Millisecond
	// monitorAddress is within the feed's own ZeroMQ context.
	monitorAddress = "inproc://monitor"
)

// #region subscribe

// Subscribe connects to a notifier, for example "tcp://127.0.0.1:5555", and asks for
// topics by their beginning: "orders.kv" for one, "orders." for all of a namespace.
// It connects in the background, again and again: Connected says that it has.
func Subscribe(endpoint string, topics ...string) (_ *Feed, err error) {
	f := &Feed{gaps: gaps{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("subscribe to %s: %w", endpoint, err), f.Close())
		}
	}()
	if f.context, err = zmq4.NewContext(); err != nil {
		return nil, err
	}
	if f.socket, err = f.context.NewSocket(zmq4.SUB); err != nil {
		return nil, err
	}
	err = errors.Join(
		f.socket.SetRcvhwm(highWater),
		f.socket.SetHeartbeatIvl(heartbeat), f.socket.SetHeartbeatTimeout(2*heartbeat),
		f.socket.SetLinger(0),
	)
	for _, topic := range topics {
		err = errors.Join(err, f.socket.SetSubscribe(topic))
	}
	if err == nil {
		err = f.watchConnection()
	}
	if err != nil {
		return nil, err
	}
	return f, f.socket.Connect(endpoint)
}

// #endregion subscribe

// watchConnection has libzmq tell when the connection comes and goes.
func (f *Feed) watchConnection() (err error) {
	events := zmq4.EVENT_HANDSHAKE_SUCCEEDED | zmq4.EVENT_DISCONNECTED
	if err := f.socket.Monitor(monitorAddress, events); err != nil {
		return err
	}
	if f.monitor, err = f.context.NewSocket(zmq4.PAIR); err != nil {
		return err
	}
	return errors.Join(f.monitor.SetLinger(0), f.monitor.Connect(monitorAddress))
}

// Next waits for the next event.
func (f *Feed) Next(ctx context.Context) (Event, error) {
	poller := zmq4.NewPoller()
	poller.Add(f.monitor, zmq4.POLLIN)
	poller.Add(f.socket, zmq4.POLLIN)
	for len(f.ready) == 0 {
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		polled, err := poller.Poll(tick)
		if err != nil && !interrupted(err) {
			return Event{}, err
		}
		for _, p := range polled {
			if err := f.receive(p.Socket); err != nil && !interrupted(err) {
				return Event{}, err
			}
		}
	}
	e := f.ready[0]
	f.ready = f.ready[1:]
	return e, nil
}

// receive takes what one of the sockets has.
func (f *Feed) receive(from *zmq4.Socket) error {
	if from == f.monitor {
		what, _, _, err := f.monitor.RecvEvent(zmq4.DONTWAIT)
		if err != nil {
			return err
		}
		kind := Connected
		if what == zmq4.EVENT_DISCONNECTED {
			kind = Disconnected
		}
		f.ready = append(f.ready, Event{Kind: kind, Missed: kind == Connected})
		return nil
	}
	frames, err := f.socket.RecvMessageBytes(zmq4.DONTWAIT)
	if err != nil {
		return err
	}
	topic, m, err := parse(frames)
	if err != nil {
		return err
	}
	f.ready = append(f.ready, Event{Topic: topic, Message: m, Missed: f.gaps.missed(topic, m)})
	return nil
}

// interrupted reports whether a call is only to be made again: a signal came, or
// nothing was there.
func interrupted(err error) bool {
	errno := zmq4.AsErrno(err)
	return errno == zmq4.Errno(syscall.EINTR) || errno == zmq4.Errno(syscall.EAGAIN)
}

// Close ends the subscription.
func (f *Feed) Close() error {
	var err error
	for _, socket := range []*zmq4.Socket{f.monitor, f.socket} {
		if socket != nil {
			err = errors.Join(err, socket.Close())
		}
	}
	if f.context != nil {
		err = errors.Join(err, f.context.Term())
	}
	return err
}
