package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// mqtt publishes changes to an MQTT 5 broker.
type mqtt struct {
	settings settings
	broker   *broker
	writer   *writer

	first     sync.WaitGroup // the connection that Configure begins
	stopFirst context.CancelFunc

	// careful is set when the broker ends a connection in a way that may be a
	// message's fault. Messages then go one by one, so that it shows which.
	careful atomic.Bool
	// alone is held by a batch: for writing while it must be alone on the connection.
	alone sync.RWMutex
}

var _ notifier.Notifier = (*mqtt)(nil)

// program is what the node sees.
func program(version string) notifier.Program {
	return notifier.Program{
		Info: plugin.Info{
			Name: "mqtt", Version: version,
			Description: "publishes a namespace's changes to an MQTT 5 broker",
		},
		Config:   defaults(),
		Notifier: &mqtt{},
	}
}

// Configure checks the configuration. A broker that can't be reached is none of
// its problems: it may come later.
func (m *mqtt) Configure(_ context.Context, c plugin.Config) error {
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	m.settings, m.broker, m.writer = s, newBroker(s), newWriter(s)
	var ctx context.Context
	ctx, m.stopFirst = context.WithCancel(context.Background())
	m.first.Go(func() { m.tryOut(ctx, c) })
	return nil
}

// tryOut connects before there is something to send, so that the log says at the
// start what is wrong.
func (m *mqtt) tryOut(ctx context.Context, c plugin.Config) {
	_, err := m.broker.connect(ctx)
	switch {
	case err == nil:
		c.Logger.Info("connected to the broker", "broker", m.settings.host, "client_id", m.settings.clientID)
	case ctx.Err() == nil:
		c.Logger.Warn("no connection to the broker: it is tried again when there is something to send", "broker", m.settings.host, "error", err)
	}
}

// Notify publishes a batch, and returns when the broker has acknowledged what it
// accepts.
func (m *mqtt) Notify(ctx context.Context, b notifier.Batch) (notifier.Result, error) {
	careful := m.careful.Load() && m.settings.QoS > 0
	if careful {
		m.alone.Lock()
		defer m.alone.Unlock()
	} else {
		m.alone.RLock()
		defer m.alone.RUnlock()
	}
	conn, err := m.broker.connect(ctx)
	if err != nil {
		return unavailable(b, err), nil
	}
	d := newDelivery(conn, m.settings.QoS, b.Events)
	if careful {
		m.deliverOneByOne(ctx, d, b)
	} else {
		m.deliver(ctx, d, b)
	}
	return d.result(), nil
}

// unavailable is the result of a batch that wasn't tried.
func unavailable(b notifier.Batch, err error) notifier.Result {
	var r notifier.Result
	for i := range b.Events {
		r.Rejected = append(r.Rejected, notifier.Rejection{Event: i, Cause: notifier.Unavailable, Reason: err.Error()})
	}
	return r
}

// deliver sends all that the broker lets be under way at once, in order.
func (m *mqtt) deliver(ctx context.Context, d *delivery, b notifier.Batch) {
	d.conn.wire.gather()
	for i := range b.Events {
		if d.barred(i) {
			continue
		}
		if err := m.send(ctx, d, b, i); err != nil {
			break
		}
	}
	d.conn.wire.release()
	d.wait(ctx)
	if d.conn.lost() {
		d.lost()
		_, _, blamed := d.conn.why()
		m.careful.CompareAndSwap(false, blamed)
	}
}

// deliverOneByOne sends an event when the one before it was acknowledged. One
// with which the connection ends is to blame. A whole batch without such an end
// is the end of being careful.
func (m *mqtt) deliverOneByOne(ctx context.Context, d *delivery, b notifier.Batch) {
	for i := range b.Events {
		if d.barred(i) {
			continue
		}
		err := m.send(ctx, d, b, i)
		d.wait(ctx)
		if d.conn.lost() {
			if reason, code, blamed := d.conn.why(); blamed {
				d.blame(i, code, reason)
				return
			}
		}
		if err != nil {
			return
		}
	}
	m.careful.Store(false)
}

// send publishes one event. An error means that no other can be sent.
func (m *mqtt) send(ctx context.Context, d *delivery, b notifier.Batch, i int) error {
	messages, err := m.writer.messages(b.Message(i))
	if err != nil {
		d.reject(i, notifier.Invalid, err.Error())
		return nil
	}
	err = d.send(ctx, i, messages)
	switch {
	case err == nil || errors.Is(err, errLost) || ctx.Err() != nil:
	case errors.Is(err, context.DeadlineExceeded):
		d.reject(i, notifier.Unavailable, fmt.Sprintf("the broker %s has acknowledged nothing for %s", d.conn.host, d.conn.patience))
		d.conn.abort()
	default:
		d.reject(i, notifier.Unavailable, err.Error())
	}
	return err
}

// Close ends the connection. Nothing is left to hand on: Notify waits for the
// broker.
func (m *mqtt) Close(context.Context) error {
	if m.broker == nil {
		return nil
	}
	m.stopFirst()
	m.first.Wait()
	m.broker.close()
	return nil
}
