package replicator

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// conversation is one stream of a Source.
type conversation struct {
	*Source
	stream  SourceStream
	offered string
	hello   chan hello
	want    chan want            // of a stream for a snapshot
	peer    atomic.Pointer[peer] // set before records flow
}

// peer is what the receiving goroutine needs once records flow.
type peer struct {
	follower *follower
	reader   Reader
}

// receiveHello takes what the sink says first.
func (c *conversation) receiveHello() (dbv1.Purpose, error) {
	m, err := c.stream.Recv()
	if err != nil {
		return 0, err
	}
	if r := m.GetRefused(); r != nil && c.offered != "" {
		return 0, refusalFrom(r)
	}
	h, err := parseHello(m)
	if err == nil && c.offered != "" && h.namespace != c.offered {
		err = refuse(CodeInvalidMessage, "%q was offered, the hello asks for %q", c.offered, h.namespace)
	}
	if err != nil {
		return 0, err
	}
	c.hello <- h
	return h.purpose, nil
}

// receive takes what is wanted of a snapshot, or acknowledgements, until the
// stream ends.
func (c *conversation) receive(p dbv1.Purpose) error {
	for {
		m, err := c.stream.Recv()
		if err != nil {
			return err
		}
		if w := m.GetWant(); w != nil && p == dbv1.Purpose_PURPOSE_SNAPSHOT {
			err = c.wanted(w)
		} else {
			err = c.acknowledge(m.GetAck())
		}
		if err != nil {
			return err
		}
	}
}

// wanted takes what the sink wants of a snapshot, which it says once.
func (c *conversation) wanted(p *dbv1.SnapshotWant) error {
	w, err := parseWant(p)
	if err != nil {
		return err
	}
	select {
	case c.want <- w:
		return nil
	default:
		return refuse(CodeInvalidMessage, "the follower says twice what it wants of a snapshot")
	}
}

// drain reads until the stream ends, so that the other end can always finish
// what it is saying, and sees what was said to it.
func (c *conversation) drain() {
	for {
		if _, err := c.stream.Recv(); err != nil {
			return
		}
	}
}

// acknowledge moves the follower's positions and its pin. Messages of other
// kinds belong to later versions and are skipped.
func (c *conversation) acknowledge(ack *dbv1.Ack) error {
	p := c.peer.Load()
	if ack == nil || p == nil {
		return nil
	}
	durable := ack.GetDurableLsn()
	if sent := p.follower.sent.Load(); durable > sent {
		return refuse(CodeInvalidMessage, "the follower acknowledges LSN %d, sent were records up to %d", durable, sent)
	}
	if p.follower.acknowledged(ack) {
		p.reader.Ack(durable)
		c.hold(p.follower.log, durable)
	}
	return nil
}

// hold has the log of an offered namespace kept from what the other end has on.
func (c *conversation) hold(log SourceLog, durable uint64) {
	if c.offered != "" && c.o.HoldName != "" {
		holdFor(c.o.Logger, c.offered, log, c.o.HoldName, durable)
	}
}

// holdFor reports whether the log is held from now on.
func holdFor(logger hclog.Logger, namespace string, log SourceLog, name string, lsn uint64) bool {
	err := log.HoldFor(name, lsn)
	if err != nil && !errors.Is(err, dbkernel.ErrClosed) && !errors.Is(err, dbkernel.ErrSuperseded) {
		logger.Warn("what the other end hasn't acknowledged may be trimmed by age", "namespace", namespace, "error", err)
	}
	return err == nil
}

// send answers the hello and then sends what it asks for.
func (c *conversation) send(ctx context.Context) error {
	h, err := c.awaitHello(ctx)
	if err == nil {
		err = c.authorize(h)
	}
	if err != nil {
		return c.refuse(h, err)
	}
	log, err := c.o.Store.Open(h.namespace)
	if err != nil {
		return c.refuse(h, openFailed(h.namespace, err))
	}
	source := extentOf(log, h.history)
	h.compression = choose(c.o.Compression, h.compressions)
	switch h.purpose {
	case dbv1.Purpose_PURPOSE_SNAPSHOT:
		return c.sendSnapshot(ctx, h, log, source)
	case dbv1.Purpose_PURPOSE_DIGESTS, dbv1.Purpose_PURPOSE_REPAIR:
		return c.sendIntegrity(ctx, h, log, source)
	default:
		return c.sendRecords(ctx, h, log, source)
	}
}

// sendRecords answers a hello that follows, and sends records until ctx ends.
func (c *conversation) sendRecords(ctx context.Context, h hello, log Log, source extent) (err error) {
	v := decide(source, h.history)
	var reader Reader
	if v.refusal() == nil {
		reader, v, err = c.openTail(log, h, v)
	}
	if err != nil {
		return c.refuse(h, err)
	}
	if reader != nil {
		defer reader.Close()
	}
	if err := c.stream.Send(answerMessage(c.o.NodeID, h, source, v, c.o.Heartbeat)); err != nil {
		return err
	}
	if err := v.refusal(); err != nil {
		c.o.Logger.Info("follower refused", "namespace", h.namespace, "node", h.nodeID, "reason", err)
		return err
	}
	return c.follow(ctx, h, log, reader, v.resumeFrom)
}

func (c *conversation) awaitHello(ctx context.Context) (hello, error) {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case h := <-c.hello:
		return h, nil
	case <-timeout.C:
		return hello{}, refuseForNow(CodeInvalidMessage, "no hello came within %v", helloTimeout)
	case <-ctx.Done():
		return hello{}, context.Cause(ctx)
	}
}

// refuse tells the sink why nothing will come, where err is a refusal, and returns it.
func (c *conversation) refuse(h hello, err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	c.o.Logger.Info("follower refused", "namespace", h.namespace, "node", h.nodeID, "reason", r)
	if sendErr := c.stream.Send(answerMessage(c.o.NodeID, h, extent{}, verdict{refused: r}, 0)); sendErr != nil {
		return errors.Join(err, sendErr)
	}
	return err
}

// openTail opens the log where the verdict says; the log may have been trimmed
// since the verdict was reached.
func (c *conversation) openTail(log Log, h hello, v verdict) (Reader, verdict, error) {
	reader, err := log.Tail(c.pinName("follower", h), v.resumeFrom)
	switch {
	case err == nil:
		return reader, v, nil
	case errors.Is(err, dbkernel.ErrTrimmed):
		return nil, logTrimmed(log.Status().FirstLSN, v.resumeFrom), nil
	case errors.Is(err, dbkernel.ErrGap):
		return nil, v, refuseForNow(CodeSourceBehind, "the source's log ends before LSN %d: it is tried again", v.resumeFrom).because(err)
	default:
		return nil, v, openFailed(h.namespace, err)
	}
}

// pinName names a pin of the log; no two streams have the same.
func (c *conversation) pinName(kind string, h hello) string {
	return kind + "/" + h.nodeID + "/" + strconv.FormatUint(c.serial.Add(1), 10)
}

// openFailed says in the protocol's words why a namespace can't be read.
func openFailed(namespace string, err error) *Refusal {
	switch {
	case errors.Is(err, dbkernel.ErrNamespaceNotFound):
		return refuseForNow(CodeNamespaceNotFound,
			"the source has no namespace %q: create it there, or correct the name; it is tried again", namespace).because(err)
	case errors.Is(err, dbkernel.ErrClosed):
		return errShuttingDown
	case errors.Is(err, dbkernel.ErrSuperseded):
		return refuseForNow(CodeSuperseded, "%q was cut off at a fork, or replaced, at the source: ask again", namespace).because(err)
	case errors.Is(err, dbkernel.ErrTrimmed):
		return refuseForNow(CodeLogTrimmed, "the follower of %q fell behind the source's log: %v; ask again", namespace, err).because(err)
	case errors.Is(err, dbkernel.ErrDamaged):
		return refuseForNow(CodeDamaged, "the source can't read what is wanted of %q: %v; follow another source, or again when it is repaired", namespace, err).because(err)
	default:
		return refuseForNow(CodeUnavailable, "the source can't read %q: %v", namespace, err).because(err)
	}
}
