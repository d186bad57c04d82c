package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// What bodies may hold, in bytes.
const (
	// maxJSONValue bounds one value inside JSON, measured decoded.
	maxJSONValue = 1 << 20
	// maxBody bounds a body that is read as a whole: a batch of
	// dbkernel.MaxBatchLen in base64, and room for the JSON around it.
	maxBody = 64 << 20
	// maxValueBody bounds a JSON body with a single value.
	maxValueBody = maxJSONValue/3*4 + 16<<10
	// maxSmallBody bounds a JSON body without values.
	maxSmallBody = 64 << 10
	// largeBody is the size from which bodies share the API's BodyMemory.
	largeBody = 1 << 20

	// DefaultBodyMemory is how many bytes of large bodies are held at one time
	// unless Options say otherwise.
	DefaultBodyMemory = 4 * maxBody
)

// patience is how long clients may take, and how long they are made to wait.
type patience struct {
	body   time.Duration // to send a body that is read as a whole, up to largeBody
	step   time.Duration // for each largeBody of a longer one
	memory time.Duration // is how long a request waits for memory
	stream time.Duration // for the next piece of a body of any length
	answer time.Duration // to take the next piece of an answer
	rest   time.Duration // to send what nobody wants of a body, once it was answered
}

var defaultPatience = patience{body: 2 * time.Minute, step: 15 * time.Second, memory: 10 * time.Second, stream: time.Minute, answer: 2 * time.Minute, rest: 5 * time.Second}

// readBody reads a body of at most limit bytes. tooLong is the answer to a longer one.
// A large body waits until memory for it is free, which it gives back when the
// request ends.
func (c *call) readBody(limit int64, tooLong error) ([]byte, error) {
	if c.kept != nil {
		return c.kept, nil
	}
	if c.ContentLength > limit {
		return nil, tooLong
	}
	c.w.setReadDeadline(time.Now().Add(c.api.patience.body))
	defer c.w.setReadDeadline(time.Time{})
	var b bytes.Buffer
	if c.ContentLength > 0 && c.ContentLength <= largeBody {
		b.Grow(int(c.ContentLength) + bytes.MinRead)
	}
	if c.ContentLength <= largeBody {
		if _, err := io.Copy(&b, io.LimitReader(c.Body, min(limit, largeBody)+1)); err != nil {
			return nil, c.bodyError(err)
		}
	}
	if int64(b.Len()) > limit {
		return nil, tooLong
	}
	if c.ContentLength <= largeBody && b.Len() <= largeBody {
		return b.Bytes(), nil
	}
	body, err := c.readLargeBody(&b, limit, tooLong)
	c.sent = c.reserved
	return body, err
}

// readLargeBody reads what follows the beginning in b. Memory is taken as the
// bytes arrive: what a client only announces keeps nobody else from writing.
func (c *call) readLargeBody(b *bytes.Buffer, limit int64, tooLong error) ([]byte, error) {
	for {
		step := min(largeBody, limit+1-int64(b.Len()))
		if err := c.hold(int64(b.Len()) + step); err != nil {
			return nil, err
		}
		c.w.setReadDeadline(time.Now().Add(c.api.patience.step))
		n, err := io.Copy(b, io.LimitReader(c.Body, step))
		switch {
		case err != nil:
			return nil, c.bodyError(err)
		case int64(b.Len()) > limit:
			return nil, tooLong
		case n < step:
			return b.Bytes(), nil
		}
	}
}

// hold makes the memory that the call has of the API's at least size, in steps of
// largeBody. It waits for a moment where there is none.
func (c *call) hold(size int64) error {
	more := (size - c.reserved + largeBody - 1) / largeBody * largeBody
	if more <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.Context(), c.api.patience.memory)
	defer cancel()
	if err := c.api.bodies.Acquire(ctx, more); err != nil {
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeBusy, RetryAfter: time.Second,
			Message: "the node has no memory for a request of this size at the moment, so nothing was done: try again, or send less at once"}
	}
	c.reserved += more
	return nil
}

// gather counts the values that an answer collects in memory. size is what they have
// together; small answers are free, as small bodies are.
func (c *call) gather(size int) error {
	if size > dbkernel.MaxBatchLen {
		return tooLarge("the values that are read are longer than %d bytes together: ask for fewer at once", dbkernel.MaxBatchLen)
	}
	if size <= largeBody {
		return nil
	}
	return c.hold(c.sent + int64(size))
}

// releaseBody gives back the memory of the request's body, which nobody needs any more.
func (c *call) releaseBody() {
	if c.sent > 0 {
		c.api.bodies.Release(c.sent)
		c.reserved, c.sent = c.reserved-c.sent, 0
	}
}

// release gives back the memory of large bodies.
func (c *call) release() {
	if c.reserved > 0 {
		c.api.bodies.Release(c.reserved)
		c.reserved = 0
	}
}

// bodyError is the answer to a body that couldn't be read.
func (c *call) bodyError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Status: http.StatusRequestTimeout, Code: CodeRequestTimeout,
			Message: "the body took too long to arrive, so nothing was written: send it faster, or in parts"}
	}
	return badRequest(CodeBadRequest, "the body ended early, so nothing was written: %v", err)
}

// isBytes says that the body is a value itself and not JSON.
func (c *call) isBytes() bool {
	t, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	return err == nil && t == "application/octet-stream"
}

// rawValue reads a body that is a value.
func (c *call) rawValue() ([]byte, error) {
	return c.readBody(dbkernel.MaxValueLen, tooLarge("the value is longer than %d bytes: store it as a large object, by PUT /lob/{key}", dbkernel.MaxValueLen))
}

// readJSON reads a JSON body into v.
func (c *call) readJSON(limit int64, v any) error {
	b, err := c.readBody(limit, bodyTooLong(limit))
	if err != nil {
		return err
	}
	return decodeJSON(b, v)
}

func bodyTooLong(limit int64) error {
	return tooLarge("the body is longer than %d bytes: send less at once%s", limit, limitHint(limit))
}

func limitHint(limit int64) string {
	if limit == maxValueBody {
		return "; a value has at most 1 MiB by JSON and 8 MiB as application/octet-stream, and a large object is for more"
	}
	return ""
}

// hasBody says that the request came with one.
func (c *call) hasBody() bool { return c.ContentLength != 0 }

// stream is a body of any length. Its reads fail when the client stands still.
type stream struct{ c *call }

func (s stream) Read(p []byte) (int, error) {
	s.c.w.setReadDeadline(time.Now().Add(s.c.api.patience.stream))
	n, err := s.c.Body.Read(p)
	if err != nil {
		s.c.w.setReadDeadline(time.Time{})
		if !errors.Is(err, io.EOF) {
			err = s.c.bodyError(err)
		}
	}
	return n, err
}
