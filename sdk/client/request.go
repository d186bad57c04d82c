package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	contentBytes = "application/octet-stream"
	contentJSON  = "application/json"
)

// request is a call before it is bound to a node.
type request struct {
	method string
	path   string // escaped, below the base address
	callOptions
	body   io.Reader // nil: none
	length int64     // of body; -1 where unknown
	// read says that the request may be asked to answer from at least the
	// session's position.
	read bool
	// any2xx says that a success may have any status of that class.
	any2xx bool
}

// data begins a request below the namespace's part of the API. Parts of the
// path are escaped already.
func (c *Client) data(method, path string, o callOptions) *request {
	return &request{
		method:      method,
		path:        "api/v1/" + escape([]byte(c.namespace)) + "/" + path,
		callOptions: o,
	}
}

func (r *request) withBytes(b []byte) *request {
	r.header.Set("Content-Type", contentBytes)
	r.body, r.length = bytes.NewReader(b), int64(len(b))
	return r
}

func (r *request) withJSON(v any) (*request, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r.header.Set("Content-Type", contentJSON)
	r.body, r.length = bytes.NewReader(b), int64(len(b))
	return r, nil
}

func (r *request) asRead() *request {
	r.read = true
	return r
}

// httpRequest binds the request to the client's node. The path goes out exactly as it
// was escaped: RawPath keeps net/http from cleaning or escaping it anew.
func (c *Client) httpRequest(ctx context.Context, r *request) (*http.Request, error) {
	u := *c.base
	u.RawPath = u.EscapedPath() + r.path
	var err error
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), r.body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if r.body != nil {
		setLength(req, r.length)
	}
	req.Header = r.header
	req.Header.Set("User-Agent", c.userAgent)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if r.read && c.session != nil && req.Header.Get(headerAtLeast) == "" {
		if p := c.session.Position(c.namespace); !p.IsZero() {
			req.Header.Set(headerAtLeast, p.String())
		}
	}
	return req, nil
}

// setLength announces the length of the body. net/http takes a length of 0 with
// a body for "unknown"; a body without bytes must be http.NoBody.
func setLength(req *http.Request, length int64) {
	req.ContentLength = length
	if length == 0 {
		req.Body = http.NoBody
		req.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
	}
}

// send sends the request and returns an answer of success, whose body the caller
// closes.
func (c *Client) send(ctx context.Context, r *request) (*http.Response, Position, error) {
	req, err := c.httpRequest(ctx, r)
	if err != nil {
		return nil, Position{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, Position{}, transportError(err)
	}
	p, posErr := positionOf(resp.Header)
	if posErr == nil && c.session != nil {
		c.session.Observe(c.namespace, p)
	}
	if !r.succeeded(resp.StatusCode) {
		defer closeBody(resp)
		return nil, Position{}, errorOf(resp)
	}
	if posErr != nil {
		closeBody(resp)
		return nil, Position{}, fmt.Errorf("the node's answer has a position that can't be read: %w", posErr)
	}
	return resp, p, nil
}

func (r *request) succeeded(status int) bool {
	return status == http.StatusOK || status == http.StatusPartialContent || r.any2xx && status/100 == 2
}

// call sends the request and decodes the JSON answer into out, unless that is
// nil.
func (c *Client) call(ctx context.Context, r *request, out any) (Position, error) {
	resp, p, err := c.send(ctx, r)
	if err != nil {
		return Position{}, err
	}
	defer closeBody(resp)
	if out == nil {
		out = &struct{}{}
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return Position{}, c.notOurJSON(err)
	}
	return p, nil
}

// notOurJSON is the error of an answer that can't be decoded.
func (c *Client) notOurJSON(err error) error {
	return fmt.Errorf("%s answered something that isn't the API's JSON (is this the HTTP address of a UnisonDB node?): %w", c.base.Host, transportError(err))
}

// write sends a request whose answer says no more than that it succeeded.
func (c *Client) write(ctx context.Context, r *request) (Position, error) {
	return c.call(ctx, r, nil)
}

// writeJSON is write with a JSON body.
func (c *Client) writeJSON(ctx context.Context, r *request, body any) (Position, error) {
	r, err := r.withJSON(body)
	if err != nil {
		return Position{}, err
	}
	return c.write(ctx, r)
}

// maxDrain is how much of an unread answer is read so that the connection can be
// used again; beyond it a new connection costs less.
const maxDrain = 64 << 10

func closeBody(resp *http.Response) {
	// Whatever goes wrong here only costs the connection.
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	_ = resp.Body.Close()
}

// versionOf reads an entity tag.
func versionOf(h http.Header) string {
	return strings.Trim(strings.TrimPrefix(h.Get("ETag"), "W/"), `"`)
}

// expiresAtOf reads the expiry of an answer of bytes; zero where there is none.
func expiresAtOf(h http.Header) (time.Time, error) {
	s := h.Get(headerExpiresAt)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("the node's answer has an expiry that can't be read: %w", err)
	}
	return t, nil
}
