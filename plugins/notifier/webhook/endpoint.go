package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// maxAnswer is how many bytes of an answer are read, so that its connection can
	// serve again; a longer one costs the connection.
	maxAnswer = 64 << 10
	// maxBatchTime is how long requests of a batch are begun. With the longest timeout
	// on top it stays below the 5 minutes after which the node takes a plugin for hung.
	maxBatchTime = 2 * time.Minute
	// keepLimit is how long a limit that a receiver named counts: it may be raised, or
	// may have been a mistake.
	keepLimit = time.Hour
	// keepIdle is how long a connection waits for the next request.
	keepIdle = 90 * time.Second
)

// endpoint is the receiver of all namespaces of the plugin. It is safe for use by
// several goroutines.
type endpoint struct {
	settings
	userAgent string
	resolver  *net.Resolver // nil: the system's
	batchTime time.Duration

	tls   *tlsFiles
	slots chan struct{} // one for each request under way

	mu      sync.Mutex
	client  *http.Client
	limit   int       // bytes of a body, learned from a receiver that found one too large
	learned time.Time // when that was
	resume  time.Time // the receiver asked to be left alone until then
}

func newEndpoint(s settings, userAgent string) (*endpoint, error) {
	e := &endpoint{settings: s, userAgent: userAgent, batchTime: maxBatchTime, tls: newTLSFiles(s.tlsPaths), slots: make(chan struct{}, s.maxInFlight)}
	config, err := e.tls.load()
	if err != nil {
		return nil, err
	}
	e.client = e.newClient(config)
	return e, nil
}

// newClient makes a client that follows no redirects, takes no proxy from its
// environment and keeps no cookies.
func (e *endpoint) newClient(config *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: e.timeout, KeepAlive: 15 * time.Second, Resolver: e.resolver, ControlContext: e.guard.control}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    e.timeout,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: e.timeout},
			MaxIdleConnsPerHost:    e.maxInFlight,
			MaxConnsPerHost:        e.maxInFlight,
			IdleConnTimeout:        keepIdle,
			MaxResponseHeaderBytes: maxAnswer,
			DisableCompression:     true,
		},
	}
}

// current is the client for the TLS files as they are on disk. Files that can't
// be used, perhaps because they are being changed at this moment, leave the old one.
func (e *endpoint) current() *http.Client {
	e.mu.Lock()
	defer e.mu.Unlock()
	if config := e.tls.changed(); config != nil {
		e.client.CloseIdleConnections()
		e.client = e.newClient(config)
	}
	return e.client
}

func (e *endpoint) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.client.CloseIdleConnections()
}

// post sends a body and says what became of it. It waits for a slot no longer than
// until the deadline.
func (e *endpoint) post(ctx context.Context, deadline time.Time, body []byte) answer {
	wait := time.NewTimer(time.Until(deadline))
	defer wait.Stop()
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-wait.C:
		return unavailable("requests of other namespaces took all the time: raise max_in_flight if the receiver bears it")
	case <-ctx.Done():
		return unavailable("it was stopped before the request was sent")
	}
	a := e.exchange(ctx, body)
	if a.retryAfter > 0 {
		e.pause(a.retryAfter)
	}
	if a.tooLarge {
		e.learn(len(body) / 2)
	}
	return a
}

func (e *endpoint) exchange(ctx context.Context, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	req, err := e.request(ctx, body)
	if err != nil {
		return unavailable(err.Error())
	}
	res, err := e.current().Do(req)
	if err != nil {
		return unavailable(e.explain(ctx, err))
	}
	defer func() { _ = res.Body.Close() }()
	// The status is what counts: a body that breaks off changes nothing.
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxReason+1))
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	return judge(res, said, time.Now())
}

func (e *endpoint) request(ctx context.Context, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return nil, e.redact(err)
	}
	req.Header.Set("User-Agent", e.userAgent)
	for name, value := range e.headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", e.format.contentType())
	req.Header.Set("Idempotency-Key", idempotencyKey(body))
	if len(e.secrets) > 0 {
		req.Header.Set(signatureHeader, signature(e.secrets, time.Now(), body))
	}
	return req, nil
}

// explain says why there was no answer, without the URL, which may hold a password.
func (e *endpoint) explain(ctx context.Context, err error) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v; it may have been accepted all the same", e.timeout)
	}
	return e.redact(err).Error()
}

// redact takes the URL out of an error.
func (e *endpoint) redact(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		return withURL.Err
	}
	return err
}

// learn remembers a limit of the receiver's.
func (e *endpoint) learn(limit int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limit, e.learned = limit, time.Now()
}

// bodyLimit is how many bytes a request may have.
func (e *endpoint) bodyLimit() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.learned.IsZero() && time.Since(e.learned) < keepLimit {
		return min(e.limit, e.maxBytes)
	}
	return e.maxBytes
}

// pause remembers for all namespaces that the receiver wants to be left alone.
func (e *endpoint) pause(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if until := time.Now().Add(d); until.After(e.resume) {
		e.resume = until
	}
}

// paused is for how long nothing is to be sent.
func (e *endpoint) paused() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(0, time.Until(e.resume))
}
