package main

import (
	"fmt"
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// arguments is the configuration block.
type arguments struct {
	URL            string            `config:"url,required,sensitive" doc:"where events are posted to, by https or http"`
	Secret         string            `config:"secret,sensitive" doc:"signs each request; left out: requests aren't signed"`
	PreviousSecret string            `config:"previous_secret,sensitive" doc:"signs as well, while receivers change to the new secret"`
	Format         string            `config:"format" oneof:"json,cloudevents" doc:"json: an object with a list of events; cloudevents: a batch of CloudEvents 1.0"`
	Timeout        time.Duration     `config:"timeout" min:"1ms" max:"2m" doc:"how long an answer is waited for"`
	MaxInFlight    int               `config:"max_in_flight" min:"1" max:"10000" doc:"requests under way at the same time; events of one key are never"`
	MaxEvents      int               `config:"max_events" min:"1" max:"10000" doc:"events in one request"`
	MaxBytes       plugin.Size       `config:"max_bytes" doc:"size of a request's body, unless one event is larger"`
	Headers        map[string]string `config:"headers,sensitive" doc:"sent with each request, for example Authorization"`
	AllowLinkLocal bool              `config:"allow_link_local" doc:"lets the URL lead to link-local addresses and to those where clouds keep their metadata"`
	TLS            tlsArguments      `config:"tls" doc:"TLS with the receiver; files that change are read again"`
}

type tlsArguments struct {
	CAFile   string `config:"ca_file" doc:"authorities that may sign the receiver's certificate; left out: the system's"`
	CertFile string `config:"cert_file" doc:"the certificate that the receiver asks for"`
	KeyFile  string `config:"key_file" doc:"its key"`
}

func defaults() arguments {
	return arguments{Format: "json", Timeout: 10 * time.Second, MaxInFlight: 4, MaxEvents: 500, MaxBytes: 1 << 20}
}

// settings is a configuration that was checked.
type settings struct {
	url         string
	secrets     []string
	format      format
	timeout     time.Duration
	maxInFlight int
	maxEvents   int
	maxBytes    int
	headers     map[string]string
	guard       guard
	tlsPaths    tlsPaths
	clear       bool // what is sent can be read on the way
}

// ours are headers that are part of the protocol with the receiver or of HTTP.
var ours = []string{
	"Content-Type", "Content-Length", "Content-Encoding", "Idempotency-Key", signatureHeader,
	"Host", "Connection", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Expect", "Keep-Alive", "Proxy-Connection",
}

// settings checks what the schema can't say. It answers all problems at once.
func (a arguments) settings() (settings, error) {
	s := settings{
		url: a.URL, timeout: a.Timeout, maxInFlight: a.MaxInFlight, maxEvents: a.MaxEvents, maxBytes: int(a.MaxBytes),
		guard:    guard{linkLocal: a.AllowLinkLocal},
		format:   formats[a.Format],
		tlsPaths: tlsPaths{ca: a.TLS.CAFile, cert: a.TLS.CertFile, key: a.TLS.KeyFile},
	}
	for _, secret := range []string{a.Secret, a.PreviousSecret} {
		if secret != "" {
			s.secrets = append(s.secrets, secret)
		}
	}
	var problems plugin.Problems
	add := func(path, message string) { problems = append(problems, plugin.Problem{Path: path, Message: message}) }

	u, err := url.Parse(a.URL)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		add("url", "this is no URL that can be called: write one that begins with https:// or http:// and names a host")
	default:
		s.clear = u.Scheme == "http"
		if err := s.guard.checkHost(u.Hostname()); err != nil {
			add("url", err.Error())
		}
	}
	if a.PreviousSecret != "" && a.Secret == "" {
		add("previous_secret", "there is no secret that follows it: set secret, too")
	}
	if a.MaxBytes < 1 {
		add("max_bytes", "nothing fits: use 1KiB or more")
	}
	if (a.TLS.CertFile == "") != (a.TLS.KeyFile == "") {
		add("tls", "a certificate is of use only with its key: set both cert_file and key_file, or neither")
	}
	headers, wrong := a.checkedHeaders()
	s.headers, problems = headers, append(problems, wrong...)
	if len(problems) > 0 {
		return settings{}, problems
	}
	return s, nil
}

// checkedHeaders are the headers by their canonical names.
func (a arguments) checkedHeaders() (headers map[string]string, problems plugin.Problems) {
	headers = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		canonical, wrong := textproto.CanonicalMIMEHeaderKey(name), ""
		switch {
		case !isToken(name):
			wrong = fmt.Sprintf("%q is no name of a header: use letters, digits and hyphens", name)
		case slices.Contains(ours, canonical):
			wrong = fmt.Sprintf("the header %s is set by the notifier itself: take it out", canonical)
		case strings.ContainsFunc(a.Headers[name], isControl):
			wrong = fmt.Sprintf("the value of %s has a line break or another control character: take it out", canonical)
		}
		if wrong != "" {
			problems = append(problems, plugin.Problem{Path: "headers", Message: wrong})
		}
		headers[canonical] = a.Headers[name]
	}
	return headers, problems
}

// isToken reports whether a header can have that name (RFC 9110, 5.6.2).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
