package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/sdk/notifier"
)

// zeromqListener subscribes to a namespace over and over, whatever is killed. It
// speaks ZMTP 3.0 itself, so that it holds libzmq's side against the written protocol.
type zeromqListener struct {
	address, namespace string

	mu    sync.Mutex
	last  map[string]notifier.Message // by topic and run
	keys  map[string]bool
	count int
	err   error
}

func newZeromqListener(t *testing.T, address, namespace string) *zeromqListener {
	t.Helper()
	z := &zeromqListener{address: address, namespace: namespace, last: map[string]notifier.Message{}, keys: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = poll(ctx, func() (bool, error) {
			z.listen(ctx)
			return false, nil
		})
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return z
}

// hears writes until one of the writes is heard: whoever subscribes is told of
// what happens after that.
func (z *zeromqListener) hears(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key := fmt.Sprint("heard/", time.Now().UnixNano())
	err := poll(ctx, func() (bool, error) {
		_, err := c.In(z.namespace).KV().Put(ctx, []byte(key), nil)
		z.mu.Lock()
		defer z.mu.Unlock()
		return z.keys[key], errors.Join(err, z.err)
	})
	z.mu.Lock()
	defer z.mu.Unlock()
	t.Logf("zeromq: %d messages in %d runs of topics", z.count, len(z.last))
	if err != nil {
		t.Errorf("nothing more is heard by ZeroMQ: %v", err)
	}
}

// listen takes what comes until the connection breaks.
func (z *zeromqListener) listen(ctx context.Context) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", z.address)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	if err := subscribe(conn, in, z.namespace+"."); err != nil {
		return
	}
	var parts []string
	for {
		body, flags, err := readFrame(in)
		if err != nil {
			return
		}
		if flags&frameIsCommand != 0 {
			continue
		}
		if parts = append(parts, string(body)); flags&frameHasMore != 0 {
			continue
		}
		z.take(parts)
		parts = nil
	}
}

// take holds a message against the contract.
func (z *zeromqListener) take(parts []string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if err := z.takeLocked(parts); err != nil && z.err == nil {
		z.err = err
	}
}

func (z *zeromqListener) takeLocked(parts []string) error {
	if len(parts) != 2 {
		return fmt.Errorf("a message of %d parts: %q", len(parts), parts)
	}
	var m notifier.Message
	if err := json.Unmarshal([]byte(parts[1]), &m); err != nil {
		return fmt.Errorf("%q: %w", parts, err)
	}
	if m.Namespace != z.namespace || m.Run == "" || m.Lineage != "" || parts[0] != m.Namespace+"."+m.EntryType {
		return fmt.Errorf("%q isn't what the contract says", parts)
	}
	run := parts[0] + "/" + m.Run
	last, known := z.last[run]
	z.last[run] = m
	z.keys[string(m.Key)] = true
	z.count++
	if known && (m.TopicSeq <= last.TopicSeq || m.LSN < last.LSN || m.LSN == last.LSN && m.Index <= last.Index) {
		return fmt.Errorf("%s comes behind %s", m.AppendJSON(nil), last.AppendJSON(nil))
	}
	return nil
}

// Flags of a ZMTP frame.
const (
	frameHasMore   = 1
	frameIsLong    = 2
	frameIsCommand = 4
)

// subscribe shakes hands as a SUB socket without security, and asks for a topic.
func subscribe(out io.Writer, in io.Reader, topic string) error {
	greeting := make([]byte, 64)
	greeting[0], greeting[9] = 0xff, 0x7f
	greeting[10] = 3 // the protocol's version
	copy(greeting[12:], "NULL")
	if _, err := out.Write(greeting); err != nil {
		return err
	}
	if _, err := io.ReadFull(in, greeting); err != nil {
		return err
	}
	const property, value = "Socket-Type", "SUB"
	ready := append([]byte("\x05READY"), byte(len(property)))
	ready = binary.BigEndian.AppendUint32(append(ready, property...), uint32(len(value)))
	ready = append(ready, value...)
	if _, err := out.Write(append([]byte{frameIsCommand, byte(len(ready))}, ready...)); err != nil {
		return err
	}
	switch body, flags, err := readFrame(in); {
	case err != nil:
		return err
	case flags&frameIsCommand == 0 || !strings.HasPrefix(string(body), "\x05READY"):
		return fmt.Errorf("the other side isn't ready: %q", body)
	}
	_, err := out.Write(append([]byte{0, byte(1 + len(topic)), 1}, topic...))
	return err
}

// readFrame reads a frame of at most a MiB.
func readFrame(in io.Reader) (body []byte, flags byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, 0, err
	}
	size := uint64(head[1])
	if head[0]&frameIsLong != 0 {
		var long [8]byte
		long[0] = head[1]
		if _, err := io.ReadFull(in, long[1:]); err != nil {
			return nil, 0, err
		}
		size = binary.BigEndian.Uint64(long[:])
	}
	if size > 1<<20 {
		return nil, 0, fmt.Errorf("a frame of %d bytes", size)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(in, body)
	return body, head[0], err
}
