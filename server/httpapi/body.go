package httpapi

import (
	"bytes"
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

// patience is how long clients may take.
type patience struct {
	body   time.Duration // to send a body that is read as a whole
	stream time.Duration // for the next piece of a body of any length
	answer time.Duration // to take the next piece of an answer
	rest   time.Duration // to send what nobody wants of a body, once it was answered
}

var defaultPatience = patience{body: 2 * time.Minute, stream: time.Minute, answer: 2 * time.Minute, rest: 5 * time.Second}

// readBody reads a body of at most limit bytes. tooLong is the answer to a longer one.
// A large body waits until memory for it is free, which it gives back when the
// request ends.
func (c *call) readBody(limit int64, tooLong error) ([]byte, error) {
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
	return c.readLargeBody(&b, limit, tooLong)
}

// readLargeBody reads what follows the beginning in b.
func (c *call) readLargeBody(b *bytes.Buffer, limit int64, tooLong error) ([]byte, error) {
	size := limit
	if c.ContentLength > 0 {
		size = c.ContentLength
	}
	if err := c.api.bodies.Acquire(c.Context(), size); err != nil {
		return nil, err
	}
	c.reserved += size
	if c.ContentLength > 0 {
		b.Grow(int(size) + bytes.MinRead)
	}
	if _, err := io.Copy(b, io.LimitReader(c.Body, limit+1-int64(b.Len()))); err != nil {
		return nil, c.bodyError(err)
	}
	if int64(b.Len()) > limit {
		return nil, tooLong
	}
	return b.Bytes(), nil
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
	b, err := c.readBody(limit, tooLarge("the body is longer than %d bytes: send less at once%s", limit, limitHint(limit)))
	if err != nil {
		return err
	}
	return decodeJSON(b, v)
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
