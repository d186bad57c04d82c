package client

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// ErrChecksum says that bytes were changed on their way to the node or from it.
var ErrChecksum = errors.New("checksum mismatch")

// expectFrom is the size from which an upload asks for leave before it sends its
// bytes, so that a refusal (a condition, a quota) costs a round trip and not the
// upload.
const expectFrom = 1 << 20

// Objects are the large objects of a namespace: bytes of any size, streamed in
// and out. An object becomes visible when it is complete.
type Objects struct{ c *Client }

// Object describes a large object.
type Object struct {
	Key       []byte
	Size      int64
	Version   string
	ExpiresAt time.Time
	// CRC32 is the IEEE checksum of the bytes; nil where the answer hasn't got it.
	CRC32 *uint32
	// Position is what the read saw.
	Position Position
}

// Uploaded is what a node says of an object that it has stored.
type Uploaded struct {
	Size     int64
	CRC32    uint32 // IEEE, of the bytes
	Version  string
	Position Position
}

// Put streams size bytes of body into an object; -1 where the size is unknown:
// to the end of body. The node's checksum is compared with that of the
// bytes sent, and [ErrChecksum] says that they differ.
func (o Objects) Put(ctx context.Context, key []byte, body io.Reader, size int64, opts ...WriteOption) (Uploaded, error) {
	if err := checkKey(key); err != nil {
		return Uploaded{}, err
	}
	sum := newChecksumReader(body)
	r := o.c.data(http.MethodPut, "lob/"+escape(key), writeOptions(opts)).withStream(sum, size)
	var answer struct {
		Size     int64  `json:"size"`
		Checksum uint32 `json:"checksum"`
		Version  string `json:"version"`
	}
	p, err := o.c.call(ctx, r, &answer)
	if err != nil {
		return Uploaded{}, err
	}
	if sent, n := sum.sum(); answer.Size != n || answer.Checksum != sent {
		return Uploaded{}, fmt.Errorf("%w: sent %d bytes with CRC-32 %08x, the node stored %d with %08x: put the object again", ErrChecksum, n, sent, answer.Size, answer.Checksum)
	}
	return Uploaded{Size: answer.Size, CRC32: answer.Checksum, Version: answer.Version, Position: p}, nil
}

// ObjectReader streams an object's bytes. It must be closed. A stream that ends
// early answers [io.ErrUnexpectedEOF]; one of a whole object whose bytes are not
// those that were put there answers [ErrChecksum] at its end.
type ObjectReader struct {
	// Object describes the whole object, also where a range was asked for.
	Object
	// Offset is where the stream begins in the object, and Length how many
	// bytes it has.
	Offset int64
	Length int64

	body io.ReadCloser
	crc  uint32 // of what was read so far
}

// Read reads the next bytes of the object.
func (r *ObjectReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.crc = crc32.Update(r.crc, crc32.IEEETable, p[:n])
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, transportError(err)
	case r.CRC32 != nil && r.Length == r.Size && r.crc != *r.CRC32:
		return n, fmt.Errorf("%w: the object has CRC-32 %08x, what arrived %08x: read it again", ErrChecksum, *r.CRC32, r.crc)
	}
	return n, err
}

// Close ends the stream, complete or not.
func (r *ObjectReader) Close() error { return r.body.Close() }

// Get opens an object for reading. A missing one is [ErrNotFound].
func (o Objects) Get(ctx context.Context, key []byte, opts ...ReadOption) (*ObjectReader, error) {
	return o.open(ctx, key, "", opts)
}

// GetRange opens length bytes of an object, from offset on; -1 is all there are.
// It is [ErrInvalid] where the object ends at or before offset.
func (o Objects) GetRange(ctx context.Context, key []byte, offset, length int64, opts ...ReadOption) (*ObjectReader, error) {
	if offset < 0 || length == 0 || length < -1 {
		return nil, fmt.Errorf("%w: no range of %d bytes from %d: the offset must not be negative and the length at least 1, or -1 for all", ErrInvalid, length, offset)
	}
	spec := "bytes=" + strconv.FormatInt(offset, 10) + "-"
	if length > 0 {
		spec += strconv.FormatInt(offset+length-1, 10)
	}
	return o.open(ctx, key, spec, opts)
}

func (o Objects) open(ctx context.Context, key []byte, rangeSpec string, opts []ReadOption) (*ObjectReader, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	r := o.c.data(http.MethodGet, "lob/"+escape(key), readOptions(opts)).asRead()
	if rangeSpec != "" {
		r.header.Set("Range", rangeSpec)
	}
	resp, p, err := o.c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	reader := &ObjectReader{Length: resp.ContentLength, body: resp.Body}
	if reader.Object, err = objectOf(key, resp, p); err == nil {
		err = reader.place(resp, rangeSpec)
	}
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return reader, nil
}

// place finds out which part of the object the answer is.
func (r *ObjectReader) place(resp *http.Response, rangeSpec string) error {
	if resp.StatusCode != http.StatusPartialContent {
		if rangeSpec != "" {
			return errors.New("asked for a range, got the whole object: something between here and the node drops the Range header")
		}
		return nil
	}
	var last int64
	if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &r.Offset, &last, &r.Size); err != nil {
		return fmt.Errorf("the answer's Content-Range %q can't be read: %w", resp.Header.Get("Content-Range"), err)
	}
	return nil
}

// Stat describes an object. A missing one is [ErrNotFound].
func (o Objects) Stat(ctx context.Context, key []byte, opts ...ReadOption) (Object, error) {
	if err := checkKey(key); err != nil {
		return Object{}, err
	}
	resp, p, err := o.c.send(ctx, o.c.data(http.MethodHead, "lob/"+escape(key), readOptions(opts)).asRead())
	var answer *Error
	if errors.As(err, &answer) {
		return o.statByGet(ctx, key, opts)
	}
	if err != nil {
		return Object{}, err
	}
	defer closeBody(resp)
	return objectOf(key, resp, p)
}

// statByGet asks again where HEAD was refused: its answer has no body, and so
// doesn't say why.
func (o Objects) statByGet(ctx context.Context, key []byte, opts []ReadOption) (Object, error) {
	r, err := o.Get(ctx, key, opts...)
	if err != nil {
		return Object{}, err
	}
	return r.Object, r.Close()
}

// Delete removes an object. It succeeds, too, where the object is absent, unless
// a condition says otherwise.
func (o Objects) Delete(ctx context.Context, key []byte, opts ...WriteOption) (Position, error) {
	if err := checkKey(key); err != nil {
		return Position{}, err
	}
	return o.c.write(ctx, o.c.data(http.MethodDelete, "lob/"+escape(key), writeOptions(opts)))
}

// ListPage reads one page of objects. The cursor is that of the page before,
// empty for the first one.
func (o Objects) ListPage(ctx context.Context, l ListOptions, cursor string, opts ...ReadOption) (Page[Object], error) {
	options := readOptions(opts)
	l.apply(&options, cursor)
	var answer struct {
		Items []struct {
			jsonKey
			Size      int64     `json:"size"`
			Version   string    `json:"version"`
			Checksum  *uint32   `json:"checksum"`
			ExpiresAt time.Time `json:"expires_at"`
		} `json:"items"`
		Cursor string `json:"cursor"`
	}
	p, err := o.c.call(ctx, o.c.data(http.MethodGet, "lob", options).asRead(), &answer)
	if err != nil {
		return Page[Object]{}, err
	}
	page := Page[Object]{Items: make([]Object, len(answer.Items)), Cursor: answer.Cursor, Position: p}
	for i, it := range answer.Items {
		page.Items[i] = Object{Key: it.bytes(), Size: it.Size, Version: it.Version, CRC32: it.Checksum, ExpiresAt: it.ExpiresAt, Position: p}
	}
	return page, nil
}

// List goes through objects, page by page as they are consumed. An error ends
// it.
func (o Objects) List(ctx context.Context, l ListOptions, opts ...ReadOption) iter.Seq2[Object, error] {
	return follow(ctx, l, opts, o.ListPage)
}

func objectOf(key []byte, resp *http.Response, p Position) (Object, error) {
	expiresAt, err := expiresAtOf(resp.Header)
	if err != nil {
		return Object{}, err
	}
	object := Object{Key: key, Size: resp.ContentLength, Version: versionOf(resp.Header), ExpiresAt: expiresAt, Position: p}
	if sum, err := strconv.ParseUint(resp.Header.Get(headerChecksum), 10, 32); err == nil {
		crc := uint32(sum)
		object.CRC32 = &crc
	}
	return object, nil
}

// withStream gives the request a body that is read as it is sent.
func (r *request) withStream(body io.Reader, size int64) *request {
	r.header.Set("Content-Type", contentBytes)
	if size < 0 || size >= expectFrom {
		r.header.Set("Expect", "100-continue")
	}
	// Hidden behind a plain Reader: net/http closes a body that it can close, and
	// this one is the caller's.
	r.body, r.length = struct{ io.Reader }{body}, size
	return r
}

// checksumReader sums up what is read through it. The transport reads on a
// goroutine of its own, which may still be at the end of the body when the
// answer is there; hence the lock.
type checksumReader struct {
	r io.Reader

	mu  sync.Mutex
	crc hash.Hash32
	n   int64
}

func newChecksumReader(r io.Reader) *checksumReader {
	return &checksumReader{r: r, crc: crc32.NewIEEE()}
}

func (c *checksumReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.crc.Write(p[:n]) // a hash never fails
	c.n += int64(n)
	return n, err
}

func (c *checksumReader) sum() (uint32, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crc.Sum32(), c.n
}
