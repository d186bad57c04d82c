package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
)

// objectPut streams the body into a large object.
func (c *call) objectPut() error {
	if err := c.noTransaction("write in a transaction by POST /tx/{txnId}/lob?key="); err != nil {
		return err
	}
	cond, _, err := c.condition()
	if err != nil {
		return err
	}
	ttl, err := c.ttl()
	if err != nil {
		return err
	}
	if c.ContentLength > dbkernel.MaxObjectLen {
		return tooLarge("the object is longer than %d bytes: split it", int64(dbkernel.MaxObjectLen))
	}
	object, pos, err := c.ns.PutObject(c.Context(), c.key, stream{c}, ttl, cond)
	if err != nil {
		return conditionFailed(err, cond)
	}
	return c.wrote(pos, struct {
		Success  bool             `json:"success"`
		Size     int64            `json:"size"`
		Checksum uint32           `json:"checksum"`
		Version  dbkernel.Version `json:"version,omitempty"`
	}{true, object.Size, object.CRC32, object.Version})
}

// objectGet streams an object, or the ranges of it that are asked for.
func (c *call) objectGet() error {
	if err := c.noTransaction("a large object is read outside of transactions"); err != nil {
		return err
	}
	var r *dbkernel.ObjectReader
	err := c.onCurrent(func() (err error) { r, err = c.ns.OpenObject(c.key); return err })
	if errors.Is(err, dbkernel.ErrNotFound) {
		if err := c.view(func(*dbkernel.View) error { return nil }); err != nil {
			return err
		}
		return &Error{Status: http.StatusNotFound, Code: CodeObjectNotFound, Message: "no such object: it was never completed, deleted, or has expired"}
	}
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // nothing is written through a reader
	object := r.Object()
	c.position(r.Position())
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", etag(object.Version))
	h.Set(HeaderChecksum, strconv.FormatUint(uint64(object.CRC32), 10))
	if !object.ExpiresAt.IsZero() {
		h.Set(HeaderExpiresAt, object.ExpiresAt.UTC().Format(time.RFC3339Nano))
	}
	switch spec := c.Header.Get("Range"); {
	case spec == "bytes=-0":
		return rangeNotSatisfiable(fmt.Sprintf("bytes */%d", object.Size))
	case !strings.HasPrefix(spec, "bytes="):
		c.Header.Del("Range") // of a unit that isn't known here, which RFC 9110 wants ignored
	}
	out := &objectWriter{ResponseWriter: c.w}
	http.ServeContent(out, c.Request, "", time.Time{}, r)
	if out.err != nil && c.w.status == 0 {
		return out.err
	}
	out.begin()
	if out.err != nil {
		// Part of the answer is out: a connection that is cut is the only way left
		// to say that the rest is missing.
		c.api.log.Warn("answer was cut short", "route", c.route, "namespace", c.namespace, "error", out.err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// objectWriter lets http.ServeContent deal with ranges and conditions, while
// what it would answer in plain text becomes a JSON error, and reads of the
// object come in pieces as large as the kernel's. The answer begins with its
// first byte, so that an object that can't be read at all is an error, too.
type objectWriter struct {
	http.ResponseWriter
	status  int // to begin with; 0: nothing, or it has begun
	refused bool
	err     error
}

// begin sends the status, if it wasn't sent.
func (w *objectWriter) begin() {
	if w.status != 0 {
		w.ResponseWriter.WriteHeader(w.status)
		w.status = 0
	}
}

func rangeNotSatisfiable(contentRange string) *Error {
	return &Error{Status: http.StatusRequestedRangeNotSatisfiable, Code: CodeRangeNotSatisfiable, ContentRange: contentRange,
		Message: "no byte of the object is in the range asked for: Content-Range says how long it is"}
}

func (w *objectWriter) WriteHeader(status int) {
	var e *Error
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		e = rangeNotSatisfiable(w.Header().Get("Content-Range"))
	case http.StatusPreconditionFailed:
		e = &Error{Status: status, Code: CodeConditionFailed, Message: "the object doesn't have the version asked for: read it without If-Match"}
	case http.StatusInternalServerError:
		e = &Error{Status: status, Code: CodeInternal, Message: "the object can't be read; the node's log says more"}
	default:
		w.status = status
		return
	}
	w.refused = true
	e.write(w.ResponseWriter)
}

// Write drops the text of an answer that became a JSON error.
func (w *objectWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	w.begin()
	return w.ResponseWriter.Write(p)
}

// copyBuffers hold pieces of objects on their way to clients.
var copyBuffers = sync.Pool{New: func() any { return new(copyBuffer) }}

type copyBuffer [256 << 10]byte

// ReadFrom copies the object. It remembers an error of the object's, as
// opposed to one of the client's.
func (w *objectWriter) ReadFrom(r io.Reader) (n int64, err error) {
	buf, ok := copyBuffers.Get().(*copyBuffer)
	if !ok {
		buf = new(copyBuffer)
	}
	defer copyBuffers.Put(buf)
	for {
		k, errRead := r.Read(buf[:])
		if k > 0 {
			m, errWrite := w.Write(buf[:k])
			n += int64(m)
			if errWrite != nil {
				return n, errWrite
			}
		}
		if errRead == io.EOF {
			return n, nil
		}
		if errRead != nil {
			w.err = errRead
			return n, errRead
		}
	}
}

func (c *call) objectDelete() error {
	if err := c.noTransaction("a transaction deletes an object by POST /tx/{txnId}/lob?key=&delete=true"); err != nil {
		return err
	}
	cond, conditional, err := c.condition()
	if err != nil {
		return err
	}
	pos, err := c.update(func(tx *dbkernel.Tx) error {
		if conditional {
			if err := tx.CheckObject(c.key, cond); err != nil {
				return err
			}
		}
		return tx.DeleteObject(c.key)
	})
	if err != nil {
		return conditionFailed(err, cond)
	}
	return c.wrote(pos, success{true})
}

type objectItem struct {
	keyOut
	Size      int64            `json:"size"`
	Version   dbkernel.Version `json:"version"`
	Checksum  uint32           `json:"checksum"`
	ExpiresAt *time.Time       `json:"expires_at,omitempty"`
}

func (c *call) objectList() error {
	scan, fingerprint, err := c.scan("lob")
	if err != nil {
		return err
	}
	var page dbkernel.Page[dbkernel.Object]
	if err := c.view(func(v *dbkernel.View) (err error) { page, err = v.ScanObjects(scan); return err }); err != nil {
		return err
	}
	out := struct {
		Items  []objectItem `json:"items"`
		Cursor string       `json:"cursor,omitempty"`
	}{Items: make([]objectItem, 0, len(page.Items))}
	for _, o := range page.Items {
		out.Items = append(out.Items, objectItem{outKey(o.Key), o.Size, o.Version, o.CRC32, outTime(o.ExpiresAt)})
	}
	if page.More {
		out.Cursor = nextCursor(fingerprint, page.Last)
	}
	return c.json(out)
}
