package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/credentials"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/config"
)

// DefaultInterval is how often files are looked at.
const DefaultInterval = time.Second

// Options configure a Store. Zero fields have defaults.
type Options struct {
	Logger hclog.Logger // silent by default
	// Refusals is told who was sent away at a handshake; nil: the logger is.
	Refusals *acl.Refusals
	Clock    func() time.Time // time.Now
	Interval time.Duration    // between two looks at the files; DefaultInterval
}

// Store is the files of one tls block, the newest that were in order. Its methods may
// be called concurrently.
type Store struct {
	o     Options
	title string
	files config.TLS
	as    purpose

	current atomic.Pointer[version]

	looking sync.Mutex // held during a look at the files, which may take as long as a disk does
	looks   int        // with the same problem, one after the other
	said    bool       // the problem is in the log
	warned  string     // what the last warning of the certificate's time was

	mu      sync.Mutex // taken after looking
	problem error      // why newer files aren't in use

	stop context.CancelFunc
	done chan struct{}

	shaking   context.Context // of the handshakes of the gRPC door
	interrupt context.CancelFunc
}

// version is one state of the files, with all that is made of it. It is never changed.
type version struct {
	*material
	at     time.Time
	server map[string]*tls.Config // by protocol; shared by all connections
	client credentials.TransportCredentials
}

// Listening opens the tls block of a listener. title begins every message, as `tls of
// listener "grpc"`. Close ends it.
func Listening(title string, t config.TLS, o Options) (*Store, error) {
	return open(title, t, forServers, o)
}

// Dialling opens the tls block of an upstream.
func Dialling(title string, t config.TLS, o Options) (*Store, error) {
	return open(title, t, forClients, o)
}

func open(title string, t config.TLS, as purpose, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.Refusals == nil {
		o.Refusals = acl.NewRefusals(o.Logger, o.Clock)
	}
	s := &Store{o: o, title: title, files: t, as: as, done: make(chan struct{})}
	s.shaking, s.interrupt = context.WithCancel(context.Background())
	if err := s.complete(); err != nil {
		return nil, err
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go s.watch(ctx)
	return s, nil
}

// complete refuses a block that lacks a file, as config.Load does for files of a
// configuration.
func (s *Store) complete() error {
	t := s.files
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		return fmt.Errorf("%s: %s and %s belong together: name both or none", s.title, certKey, keyKey)
	case t.CertFile == "" && s.as == forServers:
		return fmt.Errorf("%s: %s and %s are missing: a listener needs a certificate", s.title, certKey, keyKey)
	case t.RequireClientCert && t.CAFile == "":
		return fmt.Errorf("%s: require_client_cert needs %s: name who signs the clients' certificates", s.title, caKey)
	}
	return nil
}

// Close ends the watching of the files. Handshakes go on with those that were
// the newest.
func (s *Store) Close() {
	s.stop()
	<-s.done
}

// Interrupt ends the handshakes of the gRPC door that are under way, and lets none begin. A
// gRPC server that stops waits for them before it cuts anything: one connection that says
// nothing would hold up the whole node.
func (s *Store) Interrupt() { s.interrupt() }

// watch looks at the files again and again. It reads them: no change of a file's
// attributes is needed to see that it holds something else, and a few small files a
// second cost nothing that anybody would notice.
func (s *Store) watch(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(s.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.Reload() // it has said what is wrong
		case <-ctx.Done():
			return
		}
	}
}

// Reload looks at the files now. An error says why what they hold isn't used; what was
// in use stays so.
func (s *Store) Reload() error {
	s.looking.Lock()
	defer s.looking.Unlock()
	switched, err := s.look()
	if err != nil {
		err = fmt.Errorf("%s: %w", s.title, err)
	}
	s.note(err)
	if switched {
		s.tellOfNew(s.current.Load())
	}
	s.warnOfExpiry()
	return err
}

func (s *Store) tellOfNew(v *version) {
	facts := []any{"for", s.title}
	if v.pair != nil {
		leaf := v.pair.Leaf
		facts = append(facts, "certificate", acl.Describe(leaf), "fingerprint", Fingerprint(leaf.Raw), "not_after", shown(leaf.NotAfter))
	}
	s.o.Logger.Info("certificates loaded", facts...)
}

// look loads the files where they hold something else than what is in use.
func (s *Store) look() (switched bool, err error) {
	c, err := read(s.files)
	if err != nil {
		return false, err
	}
	if v := s.current.Load(); v != nil && v.contents.equal(c) {
		return false, nil
	}
	now := s.o.Clock()
	m, err := parse(s.files, c, s.as)
	if err == nil && !s.takesUntimely() {
		err = m.untimely(s.files, now)
	}
	if err != nil {
		return false, err
	}
	s.current.Store(s.version(m, now))
	return true, nil
}

// takesUntimely says whether certificates are taken whose time isn't now: only at the start of one
// who dials. A relayer that was off for long, or whose clock is wrong until it has reached
// others, serves what it has; it can't follow, and its status says why.
func (s *Store) takesUntimely() bool { return s.as == forClients && s.current.Load() == nil }

// note keeps what is wrong for Status. Files are replaced one after the other, so that
// a look may find the new certificate and the old key: the log has only what is
// still so at the next look.
func (s *Store) note(err error) {
	s.mu.Lock()
	before := s.problem
	s.problem = err
	s.mu.Unlock()
	if err == nil || before == nil || err.Error() != before.Error() {
		s.looks, s.said = 0, false
	}
	s.looks++
	if err == nil || s.looks < 2 || s.said || s.current.Load() == nil {
		return
	}
	s.said = true
	s.o.Logger.Warn("new certificates aren't used, the old ones stay", "error", err)
}

// warnOfExpiry warns once of what isn't valid now, and before that of a certificate that ends
// soon: in less than a fifth of the time that it was made for.
func (s *Store) warnOfExpiry() {
	v := s.current.Load()
	if v == nil {
		return
	}
	now, warning := s.o.Clock(), ""
	if err := v.untimely(s.files, now); err != nil {
		warning = err.Error()
	} else if v.pair != nil {
		leaf := v.pair.Leaf
		if leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/5 {
			warning = fmt.Sprintf("%s %s: it expires on %s: put a new certificate there, no restart is needed", certKey, s.files.CertFile, shown(leaf.NotAfter))
		}
	}
	if warning != "" && warning != s.warned {
		s.o.Logger.Warn("certificate needs care", "for", s.title, "reason", warning)
	}
	s.warned = warning
}

func (s *Store) version(m *material, now time.Time) *version {
	v := &version{material: m, at: now, server: map[string]*tls.Config{}}
	if s.as == forServers {
		for _, protocol := range []string{http1, http2} {
			v.server[protocol] = s.serverConfig(m, protocol)
		}
	}
	v.client = credentials.NewTLS(s.clientConfig(m))
	return v
}

func (s *Store) serverConfig(m *material, protocol string) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocol}, Certificates: []tls.Certificate{*m.pair},
		SessionTicketsDisabled: true, Time: s.o.Clock,
	}
	if m.cas != nil {
		c.ClientCAs, c.ClientAuth = m.pool(), tls.VerifyClientCertIfGiven
	}
	if s.files.RequireClientCert {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// clientConfig trusts the system's CAs where none are named.
func (s *Store) clientConfig(m *material) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: m.pool(), Time: s.o.Clock}
	if m.pair != nil {
		// Also where the server names other authorities: its refusal then says more
		// than that it saw no certificate.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.pair, nil }
	}
	return c
}

// Status is what a Store uses.
type Status struct {
	Title       string    // of the tls block
	CertFile    string    // empty: no certificate is shown
	Subject     string    // whose the certificate is
	Fingerprint string    // SHA-256 of the certificate, in hexadecimal
	NotAfter    time.Time // when the certificate expires
	LoadedAt    time.Time
	// Problem says why newer files aren't in use, or what of those in use isn't valid
	// now; empty where nothing is wrong.
	Problem string
}

// Status says which certificate is in use.
func (s *Store) Status() Status {
	v := s.current.Load()
	st := Status{Title: s.title, CertFile: s.files.CertFile, LoadedAt: v.at}
	if v.pair != nil {
		st.Subject, st.Fingerprint, st.NotAfter = acl.Describe(v.pair.Leaf), Fingerprint(v.pair.Leaf.Raw), v.pair.Leaf.NotAfter
	}
	s.mu.Lock()
	problem := s.problem
	s.mu.Unlock()
	if problem == nil {
		problem = v.untimely(s.files, s.o.Clock())
	}
	if problem != nil {
		st.Problem = problem.Error()
	}
	return st
}

// Fingerprint is the SHA-256 of a certificate's DER form, in hexadecimal.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
