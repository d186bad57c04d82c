package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/time/rate"
)

// link is a slow line to a node: what goes through it, in both directions
// together, stays under a rate. It needs no rights, and it counts.
type link struct {
	t       *testing.T
	target  string
	address string
	bucket  *rate.Limiter
	down    atomic.Int64 // bytes that came from the target
	cut     atomic.Bool  // nobody gets through any more; connections that are there stay

	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// linkPiece is what the line takes at once, and what each socket of it buffers:
// little, so that what lies on the line is little beside what a node keeps.
const linkPiece = 16 << 10

// newLink opens a line to target. It is closed at the end of the test.
func newLink(t *testing.T, target string, bitsPerSecond int64) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{
		t: t, target: target, address: listener.Addr().String(), listener: listener,
		bucket: rate.NewLimiter(rate.Limit(bitsPerSecond/8), 4*linkPiece),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

func (l *link) close() {
	l.cancel()
	if err := l.listener.Close(); err != nil {
		l.t.Errorf("closing the link: %v", err)
	}
	l.wg.Wait()
}

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.t.Errorf("the link accepts no more: %v", err)
			}
			return
		}
		l.wg.Go(func() { l.connect(near) })
	}
}

// connect carries one connection until either end of it is gone.
func (l *link) connect(near net.Conn) {
	defer func() { _ = near.Close() }()
	if l.cut.Load() {
		return
	}
	var d net.Dialer
	far, err := d.DialContext(l.ctx, "tcp", l.target)
	if err != nil {
		return // the target is down; whoever dialled sees its connection end
	}
	defer func() { _ = far.Close() }()
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		_ = near.Close()
		_ = far.Close()
	})()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		l.carry(ctx, near, far, &l.down)
	})
	wg.Go(func() {
		defer cancel()
		l.carry(ctx, far, near, new(atomic.Int64))
	})
	wg.Wait()
}

// carry copies until either end is gone: nodes are killed, so that how a
// connection ends says nothing.
func (l *link) carry(ctx context.Context, to, from net.Conn, count *atomic.Int64) {
	for _, c := range []net.Conn{to, from} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(linkPiece) // what the system gives is right, too
			_ = tcp.SetWriteBuffer(linkPiece)
		}
	}
	paced := pacedReader{ctx, from, l.bucket, count}
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, paced, make([]byte, linkPiece))
}

// pacedReader takes from a bucket what it has read.
type pacedReader struct {
	ctx    context.Context // of the connection
	from   io.Reader
	bucket *rate.Limiter
	count  *atomic.Int64
}

func (r pacedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if n > 0 {
		if waitErr := r.bucket.WaitN(r.ctx, n); waitErr != nil {
			return 0, waitErr
		}
		r.count.Add(int64(n))
	}
	return n, err
}
