package dbkernel

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// upload is a large object that is being written: whole chunks go to the log as
// they fill, the last one waits for the record that makes the object visible.
type upload struct {
	n      *Namespace
	id     codec.ObjectID
	ttl    time.Duration
	last   []byte // the chunk that isn't in the log yet
	chunks uint64 // chunks in the log
	size   int64
	crc    uint32
	paced  time.Time // when the last chunk went to the log
}

func (n *Namespace) newUpload(ttl time.Duration) (*upload, error) {
	u := &upload{n: n, ttl: ttl, paced: time.Now()}
	_, err := rand.Read(u.id[:])
	return u, err
}

// readFrom takes all of r.
func (u *upload) readFrom(ctx context.Context, r io.Reader) error {
	for {
		if len(u.last) == MaxChunkLen {
			if err := u.flushChunk(ctx); err != nil {
				return err
			}
		}
		if u.last == nil {
			u.last = make([]byte, 0, 32<<10)
		}
		if len(u.last) == cap(u.last) {
			u.last = slices.Grow(u.last, min(len(u.last), MaxChunkLen-len(u.last)))
		}
		part := u.last[len(u.last):min(cap(u.last), MaxChunkLen)]
		got, err := r.Read(part)
		u.crc = crc32.Update(u.crc, crc32.IEEETable, part[:got])
		u.last = u.last[:len(u.last)+got]
		u.size += int64(got)
		if u.size > MaxObjectLen {
			return fmt.Errorf("%w: a large object has at most %d bytes", ErrTooLarge, int64(MaxObjectLen))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the object: %w", err)
		}
	}
}

// slowUpload is the rate at which an upload goes on while a follower that keeps
// moving would otherwise fall out of the log, in bytes a second.
const slowUpload = 8 << 20

// flushChunk writes the last chunk to the log. The namespace is used for as long as
// that takes, and not while a slow client sends: that would hold up a switch.
func (u *upload) flushChunk(ctx context.Context) error {
	if err := u.n.acquire(); err != nil {
		return err
	}
	defer u.n.release()
	var b codec.Builder
	b.Grow(len(u.last) + 64)
	b.Chunk(u.id, u.chunks, u.last)
	if _, err := u.n.commitBatch(ctx, &b, nil, false); err != nil {
		return err
	}
	u.chunks++
	u.last = u.last[:0]
	took := time.Since(u.paced)
	u.paced = time.Now()
	if !u.n.pressed() {
		return nil
	}
	pause := time.NewTimer(time.Second*MaxChunkLen/slowUpload - took)
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// encode adds what makes the object visible: its last chunk and the manifest.
func (u *upload) encode(b *codec.Builder, key []byte) {
	if len(u.last) > 0 {
		b.Chunk(u.id, u.chunks, u.last)
	}
	m := codec.Manifest{Object: u.id, Size: uint64(u.size), ChunkLen: MaxChunkLen, CRC32: u.crc}
	b.Manifest(codec.ManifestKey(key), m.Encode(), codec.Expiry{TTL: int64(u.ttl)})
}

// drop gives up the chunks that are in the log. It is done even for a caller
// who has gone, and passes every quota.
func (u *upload) drop() error {
	if u.chunks == 0 {
		return nil
	}
	if err := u.n.acquire(); err != nil {
		return err
	}
	defer u.n.release()
	var b codec.Builder
	b.Drop(u.id)
	u.chunks = 0
	_, err := u.n.commitBatch(context.Background(), &b, nil, true)
	return err
}

// PutObject streams r into a large object, which becomes visible when it is
// complete. The condition is checked first and again at the end.
func (n *Namespace) PutObject(ctx context.Context, key []byte, r io.Reader, ttl time.Duration, c Cond) (Object, Position, error) {
	if err := errors.Join(checkKey(key), checkTTL(ttl)); err != nil {
		return Object{}, Position{}, err
	}
	if n.opts.Load().Replica {
		return Object{}, Position{}, fmt.Errorf("namespace %q: %w: write to its owner", n.name, ErrReadOnly)
	}
	if c != (Cond{}) {
		if _, err := n.Update(ctx, func(t *Tx) error { return t.CheckObject(key, c) }); err != nil {
			return Object{}, Position{}, err
		}
	}
	u, err := n.newUpload(ttl)
	if err != nil {
		return Object{}, Position{}, err
	}
	var pos Position
	if err = u.readFrom(ctx, r); err == nil {
		pos, err = n.Update(ctx, func(t *Tx) error {
			if c != (Cond{}) {
				if err := t.CheckObject(key, c); err != nil {
					return err
				}
			}
			t.setObject(key, u)
			return nil
		})
	}
	if err != nil {
		return Object{}, Position{}, errors.Join(err, u.drop())
	}
	return Object{Key: key, Size: u.size, CRC32: u.crc, Version: versionOf(codec.Version{Epoch: pos.Epoch, LSN: pos.LSN})}, pos, nil
}

// setObject has the transaction make an upload visible.
func (t *Tx) setObject(key []byte, u *upload) {
	if t.objects == nil {
		t.objects = map[string]*upload{}
	}
	t.objects[string(key)] = u
	t.newest = u
	t.puts = true
	t.vanished = slices.DeleteFunc(t.vanished, func(v vanishing) bool { return string(v.key) == string(key) })
}

// AppendObject streams bytes to the object that the transaction makes visible
// under key.
func (t *Tx) AppendObject(ctx context.Context, key []byte, r io.Reader) error {
	if err := checkKey(key); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return ErrTxNotFound
	}
	defer t.touch()
	u := t.objects[string(key)]
	if u == nil {
		if err := t.roomForObject(); err != nil {
			return err
		}
		var err error
		if u, err = t.n.newUpload(0); err != nil {
			return err
		}
	}
	t.setObject(key, u)
	if err := u.readFrom(ctx, r); err != nil {
		// Part of r is in the object: going on would store it twice.
		t.end()
		return fmt.Errorf("the transaction is aborted: %w", errors.Join(err, t.dropObjects()))
	}
	return nil
}

// maxTailLen bounds what a transaction's objects keep in memory, in bytes: each
// the end of it that fills no chunk yet.
const maxTailLen = 32 << 20

func (t *Tx) roomForObject() error {
	if t.tails() > maxTailLen {
		return fmt.Errorf("%w: the transaction's large objects end in over %d bytes that fill no chunk: commit, and go on in another", ErrTooLarge, maxTailLen)
	}
	return nil
}

// tails is how much the transaction's objects keep in memory.
func (t *Tx) tails() (n int) {
	for _, u := range t.objects {
		n += len(u.last)
	}
	return n
}

// flushTails writes the objects' ends to the log where they are too much for the
// record that makes the objects visible.
func (t *Tx) flushTails(ctx context.Context) error {
	if t.tails() <= 8*MaxChunkLen {
		return nil
	}
	for _, u := range t.objects {
		if len(u.last) > 0 {
			if err := u.flushChunk(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropObjects gives up what the transaction has uploaded.
func (t *Tx) dropObjects() error {
	var errs []error
	for _, u := range t.objects {
		errs = append(errs, u.drop())
	}
	t.objects = nil
	return errors.Join(errs...)
}

// encodeObjects adds the objects that appear and vanish. Each takes the object
// that it replaces with it, so the guard covers the manifest as of the view.
func (t *Tx) encodeObjects(v *View, b *codec.Builder, g *guard) error {
	replace := func(key []byte) error {
		g.keys = append(g.keys, codec.ManifestKey(key))
		// One that is due but not removed yet still has its chunks.
		c, found, err := v.resolveAll(codec.ManifestKey(key), func() ([]byte, bool, error) {
			return v.snap.Get(codec.ManifestKey(key))
		})
		if err != nil || !found {
			return err
		}
		_, m, err := objectOf(key, c)
		if err == nil {
			b.Drop(m.Object)
		}
		return err
	}
	for key, u := range t.objects {
		if err := replace([]byte(key)); err != nil {
			return err
		}
		u.encode(b, []byte(key))
	}
	for _, gone := range t.vanished {
		// Deleting what isn't there is a write, too: it has a position.
		if err := replace(gone.key); err != nil {
			return err
		}
		b.Delete(codec.ManifestKey(gone.key))
	}
	return nil
}

// objectReads counts who reads which object, so that its chunks outlive a
// replacement or a delete until the last reader is done.
type objectReads struct {
	mu   sync.Mutex
	open map[codec.ObjectID]int
}

func (s *objectReads) has(id codec.ObjectID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id] > 0
}

func (s *objectReads) add(id codec.ObjectID, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[codec.ObjectID]int{}
	}
	if s.open[id] += by; s.open[id] == 0 {
		delete(s.open, id)
	}
}

// ObjectReader reads a large object as it was when it was opened, whatever
// happens to it meanwhile. It implements io.ReadSeeker, io.ReaderAt and
// io.Closer. ReadAt may be called concurrently. It keeps the namespace from closing
// only while it reads: a slow client's download holds up nothing.
type ObjectReader struct {
	n        *Namespace
	object   Object
	manifest codec.Manifest
	position Position
	offset   int64

	mu     sync.Mutex
	held   []byte // the chunk read last
	heldNo uint64
	closed bool
}

// OpenObject opens a large object. ErrNotFound.
func (n *Namespace) OpenObject(key []byte) (*ObjectReader, error) {
	if err := n.acquire(); err != nil {
		return nil, err
	}
	defer n.release()
	return n.openObject(key)
}

// openObject announces the reader before it relies on the object: a flush that
// began earlier may already be freeing the chunks of one that was just dropped,
// but then a view taken after the announcement no longer shows it.
func (n *Namespace) openObject(key []byte) (*ObjectReader, error) {
	for {
		_, m, _, err := n.statObject(key)
		if err != nil {
			return nil, err
		}
		n.reads.add(m.Object, 1)
		o, again, pos, err := n.statObject(key)
		if err == nil && again.Object == m.Object {
			return &ObjectReader{n: n, object: o, manifest: m, position: pos}, nil
		}
		n.reads.add(m.Object, -1)
		if err != nil {
			return nil, err
		}
	}
}

func (n *Namespace) statObject(key []byte) (Object, codec.Manifest, Position, error) {
	v, err := n.View()
	if err != nil {
		return Object{}, codec.Manifest{}, Position{}, err
	}
	defer v.Close()
	o, m, err := v.object(key)
	return o, m, v.Position(), err
}

// Object describes what is read.
func (r *ObjectReader) Object() Object { return r.object }

// Position is where the object was found.
func (r *ObjectReader) Position() Position { return r.position }

// Read implements io.Reader.
func (r *ObjectReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	chunkLen := int64(r.manifest.ChunkLen)
	if left := chunkLen - r.offset%chunkLen; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := r.ReadAt(p, r.offset)
	r.offset += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *ObjectReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.object.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("%w: offset %d lies before the object", ErrInvalid, offset)
	}
	r.offset = offset
	return offset, nil
}

// ReadAt implements io.ReaderAt.
func (r *ObjectReader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, ErrClosed
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= r.object.Size {
			return done, io.EOF
		}
		no := uint64(at) / uint64(r.manifest.ChunkLen)
		if r.held == nil || r.heldNo != no {
			chunk, err := r.chunk(no)
			if err != nil {
				return done, err
			}
			r.held, r.heldNo = chunk, no
		}
		done += copy(p[done:], r.held[at-int64(no)*int64(r.manifest.ChunkLen):])
	}
	return done, nil
}

// chunk reads one chunk in a view of its own. Drops don't count: the reader's
// announcement keeps the chunk.
func (r *ObjectReader) chunk(no uint64) ([]byte, error) {
	v, err := r.n.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	key := codec.ChunkKey(r.manifest.Object, no)
	data, found, err := v.chunk(key)
	if err != nil {
		return nil, err
	}
	want := min(int64(r.manifest.ChunkLen), r.object.Size-int64(no)*int64(r.manifest.ChunkLen))
	if !found || int64(len(data)) != want {
		return nil, r.n.damagedCell(key, fmt.Errorf("chunk %d of object %q is missing or has the wrong length", no, r.object.Key))
	}
	return data, nil
}

// chunk reads a chunk's cell, dropped or not.
func (v *View) chunk(key []byte) ([]byte, bool, error) {
	for _, m := range v.mems {
		if ver := m.Get(key, v.lsn); ver != nil {
			return ver.Value, true, nil
		}
	}
	b, found, err := v.snap.Get(key)
	if err != nil || !found {
		return nil, false, v.n.treeError(err)
	}
	c, err := codec.DecodeCell(key, b)
	if err != nil {
		return nil, false, v.n.damagedCell(key, err)
	}
	return c.Value, true, nil
}

// Close ends the reader. It may be called twice.
func (r *ObjectReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed, r.held = true, nil
	r.n.reads.add(r.manifest.Object, -1)
	return nil
}
