package client

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Defaults of a Config.
const (
	DefaultAddress   = "http://127.0.0.1:4000"
	DefaultNamespace = "default"
)

// How the client's own transport behaves. There is no limit on a whole request:
// an object may take hours, and contexts bound the rest.
const (
	dialTimeout           = 10 * time.Second
	maxIdleConnsPerHost   = 64
	idleConnTimeout       = 90 * time.Second
	expectContinueTimeout = time.Second
)

// Config says which node to talk to, and as whom. The zero value talks to
// DefaultAddress in DefaultNamespace.
type Config struct {
	// Address is the URL of a node's HTTP listener. A path is kept, for a node
	// behind a reverse proxy. Without a scheme it is http, or https where one of
	// the TLS files is set.
	Address string
	// Token is sent as a bearer token with each request.
	Token string
	// Namespace is what the client is bound to.
	Namespace string

	// CAFile holds the PEM certificates that the node's certificate must come
	// from; empty: those of the system.
	CAFile string
	// CertFile and KeyFile hold the client's own certificate, in PEM. They and
	// CAFile are read again at each new connection, so that renewed certificates are
	// used without a restart; while they don't fit each other, the last that did are used.
	// (Through a proxy they stay those of New.)
	CertFile string
	KeyFile  string

	// HTTPClient replaces the client's own; it can't be combined with TLS files.
	HTTPClient *http.Client
	// UserAgent replaces "unisondb-go".
	UserAgent string
}

// Client talks to one node, within one namespace.
type Client struct {
	base      *url.URL
	token     string
	namespace string
	userAgent string
	http      *http.Client
	session   *Session // nil: none
}

// New makes a client. It reads the TLS files and connects to nothing.
func New(cfg Config) (*Client, error) {
	base, err := parseAddress(cmp.Or(cfg.Address, DefaultAddress), cfg.hasTLSFiles())
	if err != nil {
		return nil, err
	}
	httpClient, err := cfg.httpClient()
	if err != nil {
		return nil, err
	}
	return &Client{
		base:      base,
		token:     cfg.Token,
		namespace: cmp.Or(cfg.Namespace, DefaultNamespace),
		userAgent: cmp.Or(cfg.UserAgent, "unisondb-go"),
		http:      httpClient,
	}, nil
}

// Address is the URL of the node.
func (c *Client) Address() string { return strings.TrimSuffix(c.base.String(), "/") }

// Namespace is the namespace that the client is bound to.
func (c *Client) Namespace() string { return c.namespace }

// In returns a client for another namespace that shares connections, token and
// session with c.
func (c *Client) In(namespace string) *Client {
	other := *c
	other.namespace = namespace
	return &other
}

// WithSession returns a client whose calls belong to s; nil ends the session.
func (c *Client) WithSession(s *Session) *Client {
	other := *c
	other.session = s
	return &other
}

// Close closes connections that are idle. Calls under way go on, and the client
// stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// KV returns the key-value model of the client's namespace.
func (c *Client) KV() KV { return KV{c} }

// Rows returns the wide-column model of the client's namespace.
func (c *Client) Rows() Rows { return Rows{c} }

// Objects returns the large objects of the client's namespace.
func (c *Client) Objects() Objects { return Objects{c} }

func (cfg Config) hasTLSFiles() bool {
	return cfg.CAFile != "" || cfg.CertFile != "" || cfg.KeyFile != ""
}

func (cfg Config) httpClient() (*http.Client, error) {
	if cfg.HTTPClient != nil {
		if cfg.hasTLSFiles() {
			return nil, errors.New("HTTPClient and TLS files are both set: configure TLS in the HTTPClient's transport instead")
		}
		return cfg.HTTPClient, nil
	}
	files := &tlsFiles{cfg: cfg}
	tlsConfig, err := files.load()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			DialTLSContext:        files.dial,
			TLSHandshakeTimeout:   dialTimeout,
			TLSClientConfig:       tlsConfig,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   maxIdleConnsPerHost,
			IdleConnTimeout:       idleConnTimeout,
			ExpectContinueTimeout: expectContinueTimeout,
			DisableCompression:    true, // ranges and lengths are of the bytes themselves
		},
		// No route of the API redirects. Whoever does is not a node, and the
		// token is not for them.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// parseAddress reads the address of a node in the forms that people write.
func parseAddress(address string, secure bool) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		address = scheme + "://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("address %q is no URL: write it as %s", address, DefaultAddress)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("address %q has scheme %q: use http or https", address, u.Scheme)
	case u.Host == "":
		return nil, fmt.Errorf("address %q names no host: write it as %s", address, DefaultAddress)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("address %q has more than scheme, host and path: write it as %s", u.Redacted(), DefaultAddress)
	case u.Scheme == "http" && secure:
		return nil, fmt.Errorf("address %q is plain http, but TLS files are set: use https", address)
	}
	return u.JoinPath("/"), nil
}
