package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// zeromq publishes a namespace's changes on a PUB socket.
type zeromq struct {
	settings  settings
	publisher *publisher
	run       string // names this run of the program: topic_seq begins anew in each

	mu  sync.Mutex
	seq map[string]map[string]uint64 // by namespace and entry type: of the last message
	buf []byte                       // of one message
}

var _ notifier.Notifier = (*zeromq)(nil)

// program is what the node sees.
func program(version string) notifier.Program {
	return notifier.Program{
		Info: plugin.Info{
			Name: "zeromq", Version: version,
			Description: "publishes a namespace's changes on a ZeroMQ PUB socket",
		},
		Config:        defaults(),
		Notifier:      newZeroMQ(),
		FireAndForget: true,
	}
}

func newZeroMQ() *zeromq {
	var run [8]byte
	rand.Read(run[:])
	return &zeromq{run: hex.EncodeToString(run[:]), seq: map[string]map[string]uint64{}}
}

// Configure binds the socket.
func (z *zeromq) Configure(ctx context.Context, c plugin.Config) error {
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	p, err := listen(ctx, s, c.Logger)
	var bind *bindError
	if errors.As(err, &bind) {
		path, message := bind.problem(s)
		return plugin.Problems{{Path: path, Message: message}}
	}
	if err != nil {
		return err
	}
	z.settings, z.publisher = s, p
	z.announce(c)
	return nil
}

// announce says what subscribers connect to, and what an operator may not have
// meant.
func (z *zeromq) announce(c plugin.Config) {
	facts := []any{"endpoint", z.settings.endpoint, "run", z.run}
	if z.settings.publicKey != "" {
		facts = append(facts, "public_key", z.settings.publicKey)
	}
	c.Logger.Info("publishing", facts...)
	if !z.settings.loopback && z.settings.Curve == nil {
		c.Logger.Warn("anybody who reaches this address can read the namespace's keys: add a curve block, or bind to loopback", "endpoint", z.settings.endpoint)
	}
	if z.settings.HighWaterMark == 0 {
		c.Logger.Warn("high_water_mark is 0: a slow subscriber's messages take memory without a bound, and beyond memory_limit this notifier is restarted")
	}
}

// Notify publishes a batch. Whatever the socket takes is accepted: subscribers
// that were slow or away see the gap in topic_seq.
func (z *zeromq) Notify(_ context.Context, b notifier.Batch) (notifier.Result, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.seq[b.Namespace] == nil {
		// Subscribers of these topics hear of a reset even if nothing was published there.
		z.seq[b.Namespace] = map[string]uint64{"kv": 0, "row": 0, "lob": 0}
	}
	for i := range b.Events {
		m := b.Message(i)
		m.Lineage = "" // not in this protocol
		if err := z.publish(m); err != nil {
			return notifier.Result{}, err
		}
	}
	return notifier.Result{}, nil
}

// publish sends an event to its topic, and a reset to every one. Topics that this
// run hasn't used need none: to their subscribers the run itself is new.
func (z *zeromq) publish(m notifier.Message) error {
	if m.Operation != notifier.Reset {
		return z.send(m)
	}
	for _, entryType := range slices.Sorted(maps.Keys(z.seq[m.Namespace])) {
		m.EntryType = entryType
		if err := z.send(m); err != nil {
			return err
		}
	}
	return nil
}

func (z *zeromq) send(m notifier.Message) error {
	seq := z.seq[m.Namespace]
	m.Run, m.TopicSeq = z.run, seq[m.EntryType]+1
	z.buf = m.AppendJSON(z.buf[:0])
	if err := z.publisher.send(m.Namespace+"."+m.EntryType, z.buf); err != nil {
		return err
	}
	seq[m.EntryType] = m.TopicSeq
	return nil
}

// Close gives what waits for subscribers linger_time, or less if ctx ends
// sooner.
func (z *zeromq) Close(ctx context.Context) error {
	if z.publisher == nil {
		return nil
	}
	linger := z.settings.LingerTime
	if deadline, ok := ctx.Deadline(); ok {
		linger = min(linger, time.Until(deadline))
	}
	return z.publisher.close(linger)
}
