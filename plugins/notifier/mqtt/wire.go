package main

import (
	"net"
	"sync"
	"time"
)

// writeTimeout is how long the broker may take to read what is sent to it.
const writeTimeout = 20 * time.Second

// flushAt is how much is written at once while packets are being gathered.
const flushAt = 64 << 10

// wire is a network connection that writes whole packets: paho locks it around
// each packet, which it writes in pieces, and uses it from several goroutines.
// Between gather and release packets are put together, so that a batch costs few
// system calls, but never while all that gather wait for the broker: it may be
// waiting for what was put together. After an error nothing more is written, and reading ends: that is
// where paho learns of it.
type wire struct {
	net.Conn

	mu        sync.Mutex // paho's, around a packet
	buf       []byte
	gathering int // how many batches are being written
	waiting   int // how many of them wait for the broker
	failed    bool
}

// Lock begins a packet.
func (w *wire) Lock() { w.mu.Lock() }

// Unlock ends a packet.
func (w *wire) Unlock() {
	if w.gathering <= w.waiting || len(w.buf) >= flushAt {
		w.flushLocked()
	}
	w.mu.Unlock()
}

// Write takes a piece of a packet; the caller has locked the wire.
func (w *wire) Write(p []byte) (int, error) {
	if w.failed {
		return 0, net.ErrClosed
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// gather holds packets back until release.
func (w *wire) gather() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gathering++
}

func (w *wire) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gathering--
	w.flushLocked()
}

// await is called by a batch that waits for the broker, and resume when it goes
// on.
func (w *wire) await() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting++
	w.flushLocked()
}

func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting--
}

func (w *wire) flushLocked() {
	if len(w.buf) == 0 || w.failed {
		return
	}
	err := w.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = w.Conn.Write(w.buf)
	}
	w.buf = w.buf[:0]
	if cap(w.buf) > 4*flushAt {
		w.buf = nil
	}
	if err != nil {
		w.failed = true
		_ = w.Conn.Close() // the reader reports it
	}
}
