package dbkernel

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	txIdle    = 2 * time.Minute  // an interactive transaction ends after this long without a request
	txAge     = 15 * time.Minute // and after this long in any case
	maxOpenTx = 1000             // of a namespace: each holds its writes in memory
)

// txSet is a namespace's interactive transactions. Those that expired are
// remembered for a while, so that their clients learn what happened.
type txSet struct {
	mu      sync.Mutex
	all     map[string]*Tx
	expired map[string]time.Time // since when
}

func (s *txSet) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Begin opens an interactive transaction. It ends by Commit or Abort, or
// expires after 2 idle minutes or 15 in all.
func (n *Namespace) Begin() (*Tx, error) {
	if n.opts.Load().Replica {
		return nil, fmt.Errorf("namespace %q: %w: begin the transaction at its owner", n.name, ErrReadOnly)
	}
	if err := n.acquire(); err != nil {
		return nil, err
	}
	defer n.release()
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	t := newTx(n)
	t.id = hex.EncodeToString(id[:])
	t.began = n.db.opts.Clock()
	t.used = t.began
	s := &n.txs
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxOpenTx {
		return nil, fmt.Errorf("%w: %d transactions are open: commit or abort some", ErrQuota, maxOpenTx)
	}
	if s.all == nil {
		s.all, s.expired = map[string]*Tx{}, map[string]time.Time{}
	}
	s.all[t.id] = t
	return t, nil
}

// ID names an interactive transaction.
func (t *Tx) ID() string { return t.id }

// Transaction finds an open one and keeps it from being idle. ErrTxNotFound,
// ErrTxExpired.
func (n *Namespace) Transaction(id string) (*Tx, error) {
	s := &n.txs
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.all[id]
	now := n.db.opts.Clock()
	if t != nil && !t.expiredAt(now) {
		t.used = now
		return t, nil
	}
	if _, ok := s.expired[id]; ok || t != nil {
		return nil, fmt.Errorf("%w: it was idle for %s or open for %s: begin again", ErrTxExpired, txIdle, txAge)
	}
	return nil, fmt.Errorf("%w: %q is unknown here, or was committed or aborted", ErrTxNotFound, id)
}

// expiredAt needs the set's lock, which guards used.
func (t *Tx) expiredAt(now time.Time) bool {
	return now.Sub(t.used) >= txIdle || now.Sub(t.began) >= txAge
}

// expireTransactions ends those that are due.
func (n *Namespace) expireTransactions(now time.Time) {
	s := &n.txs
	var due []*Tx
	s.mu.Lock()
	for id, t := range s.all {
		if !t.expiredAt(now) || !t.mu.TryLock() {
			continue // one that is in the middle of a request isn't idle
		}
		delete(s.all, id)
		s.expired[id] = now
		due = append(due, t)
	}
	for id, since := range s.expired {
		if now.Sub(since) >= txAge {
			delete(s.expired, id)
		}
	}
	s.mu.Unlock()
	for _, t := range due {
		err := t.abortLocked()
		t.mu.Unlock()
		if err != nil && !errors.Is(err, ErrTxNotFound) {
			n.logger.Warn("dropping an expired transaction's object failed; it is dropped at the next start", "error", err)
		}
	}
}

func (s *txSet) remove(t *Tx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, t.id)
}

// Commit makes an interactive transaction's writes visible at one LSN and ends
// it. ErrConflict where something that it read has changed. objectCRC is the
// CRC-32 (IEEE) of the object that it wrote last, 0 without one.
func (t *Tx) Commit(ctx context.Context) (pos Position, objectCRC uint32, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return Position{}, 0, ErrTxNotFound
	}
	n := t.n
	if err := n.acquire(); err != nil {
		return Position{}, 0, err
	}
	defer n.release()
	t.end()
	err = t.flushTails(ctx)
	for err == nil {
		pos, err = t.tryCommit(ctx)
		var stale *staleError
		if !errors.As(err, &stale) {
			break
		}
		if err = n.advanced.wait(ctx, func() bool { return n.readLSN() >= stale.retryAt || n.frozen.Load() != nil }); err != nil {
			break
		}
	}
	if err != nil {
		return Position{}, 0, errors.Join(err, t.dropObjects())
	}
	if t.newest != nil {
		objectCRC = t.newest.crc
	}
	return pos, objectCRC, nil
}

func (t *Tx) tryCommit(ctx context.Context) (Position, error) {
	v, err := t.n.View()
	if err != nil {
		return Position{}, err
	}
	defer v.Close()
	if err := t.validate(v); err != nil {
		return Position{}, err
	}
	if t.empty() {
		return v.Position(), nil
	}
	b, g, err := t.encode(v)
	if err != nil {
		return Position{}, err
	}
	v.Close() // the commit may wait for a flush, and a flush for old views
	return t.n.commitBatch(ctx, b, g, !t.puts)
}

// Abort ends an interactive transaction and drops what it has written.
func (t *Tx) Abort(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.abortLocked()
}

func (t *Tx) abortLocked() error {
	if t.ended {
		return ErrTxNotFound
	}
	defer t.end()
	if len(t.objects) == 0 {
		return nil
	}
	if err := t.n.acquire(); err != nil {
		return err // the next epoch drops what was uploaded
	}
	defer t.n.release()
	return t.dropObjects()
}

// touch notes that a request has ended just now.
func (t *Tx) touch() {
	t.n.txs.mu.Lock()
	defer t.n.txs.mu.Unlock()
	t.used = t.n.db.opts.Clock()
}

func (t *Tx) end() {
	t.ended = true
	if t.id != "" {
		t.n.txs.remove(t)
	}
}
