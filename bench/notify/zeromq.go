package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/pebbe/zmq4"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// subscriberArg makes this program a subscriber, which is a process of its own.
const subscriberArg = "subscriber"

// Keys that aren't measured: the first tells that the subscriber has joined, the
// second ends it.
const (
	joinKey = "join"
	endKey  = "end"
)

// delivered is when a change came to the subscriber.
type delivered struct {
	LSN  uint64
	Made time.Time // by the node's record
	At   time.Time
	Lost uint64 // by the gap in topic_seq in front of it
}

// subscriber notes when messages come, and prints that once a message with the
// end's key has come. It says "joined" at the first message.
func subscriber(endpoint string, _ io.Reader, out io.Writer) error {
	socket, err := zmq4.NewSocket(zmq4.SUB)
	if err != nil {
		return err
	}
	if err := errors.Join(socket.SetRcvhwm(0), socket.SetSubscribe("bench."), socket.Connect(endpoint)); err != nil {
		return err
	}
	var all []delivered
	var last uint64
	for first := true; ; first = false {
		parts, err := socket.RecvMessageBytes(0)
		at := time.Now()
		if err != nil {
			return err
		}
		var m notifier.Message
		if err := json.Unmarshal(parts[1], &m); err != nil {
			return err
		}
		if first {
			last = m.TopicSeq - 1
			if _, err := fmt.Fprintln(out, `"joined"`); err != nil {
				return err
			}
		}
		if string(m.Key) == endKey {
			return json.NewEncoder(out).Encode(all)
		}
		if string(m.Key) != joinKey {
			all = append(all, delivered{LSN: m.LSN, Made: m.Time, At: at, Lost: m.TopicSeq - last - 1})
		}
		last = m.TopicSeq
	}
}

// zeromq measures the time from commit to delivery at a subscriber in another
// process, at a steady rate of writes by HTTP, each a record of its own.
func zeromq(ctx context.Context, b *bench) (err error) {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	n, err := b.startNode(ctx, fmt.Sprintf("namespace \"bench\" {\n  notifier \"zeromq\" { bind_port = %s }\n}\n", port))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()

	cmd := exec.CommandContext(ctx, os.Args[0], subscriberArg, "tcp://"+address)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	answers := json.NewDecoder(out)
	if err := join(ctx, n, answers); err != nil {
		return err
	}
	acknowledged, err := n.write(ctx, b.options.rate, b.options.duration)
	if err != nil {
		return err
	}
	if _, err := n.client.KV().Put(ctx, []byte(endKey), nil); err != nil {
		return err
	}
	var all []delivered
	if err := errors.Join(answers.Decode(&all), cmd.Wait()); err != nil {
		return fmt.Errorf("subscriber: %w", err)
	}
	b.delivery(acknowledged, all)
	return nil
}

// join writes until the subscriber has got something.
func join(ctx context.Context, n *node, answers *json.Decoder) error {
	joined := make(chan error, 1)
	go func() {
		var word string
		joined <- answers.Decode(&word)
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-joined:
			return err
		case <-tick.C:
			if _, err := n.client.KV().Put(ctx, []byte(joinKey), nil); err != nil {
				return err
			}
		}
	}
}

// delivery adds what was measured. The commit lies between the making of the
// record, before its fsync, and the arrival of the answer at the writer: the first
// figure has the fsync in it, the second lacks the answer's way.
func (b *bench) delivery(acknowledged map[uint64]time.Time, all []delivered) {
	var fromRecord, fromAnswer []time.Duration
	lost := uint64(0)
	for _, d := range all {
		lost += d.Lost
		if at, ok := acknowledged[d.LSN]; ok {
			fromRecord = append(fromRecord, d.At.Sub(d.Made))
			fromAnswer = append(fromAnswer, max(0, d.At.Sub(at)))
		}
	}
	rate := float64(len(acknowledged)) / b.options.duration.Seconds()
	b.figure("writes", fmt.Sprintf("%.0f/s", rate))
	b.figure("lost", fmt.Sprint(lost))
	b.latencies("record to delivery", fromRecord, time.Millisecond, 5*time.Millisecond)
	b.latencies("answer to delivery", fromAnswer, time.Millisecond, 5*time.Millisecond)
}

// writers is how many writes may be under way at once.
const writers = 64

// write writes at a steady rate, each key once, and says when each was
// acknowledged, by LSN. Writes that fall due while the node is slow are made late,
// not left out.
func (n *node) write(ctx context.Context, rate int, duration time.Duration) (map[uint64]time.Time, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	due := make(chan int, writers)
	acknowledged := map[uint64]time.Time{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for i := range due {
				position, err := n.client.KV().Put(ctx, fmt.Appendf(nil, "key:%d", i), []byte("value"))
				at := time.Now()
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				acknowledged[position.LSN] = at
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; i < int(duration.Seconds()*float64(rate)) && ctx.Err() == nil; {
		for owed := int(time.Since(begin).Seconds() * float64(rate)); i < owed && ctx.Err() == nil; i++ {
			select {
			case due <- i:
			case <-ctx.Done():
			}
		}
		<-tick.C
	}
	close(due)
	all.Wait()
	return acknowledged, context.Cause(ctx)
}
