package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/unisondb/unisondb/server/acl"
)

// handshakeTimeout is how long the other end may take for a handshake.
const handshakeTimeout = 5 * time.Second

// accept secures a connection that was accepted. Who isn't let in is in the log
// when it returns.
func (s *Store) accept(ctx context.Context, raw net.Conn, protocol string) (*tls.Conn, error) {
	return s.handshake(ctx, raw, s.current.Load().server[protocol], protocol)
}

func (s *Store) handshake(ctx context.Context, raw net.Conn, c *tls.Config, protocol string) (*tls.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Server(raw, c)
	err := conn.HandshakeContext(limited)
	if err == nil {
		return conn, nil
	}
	s.refused(raw.RemoteAddr(), err)
	answerPlainHTTP(err, protocol)
	hangUp(ctx, raw)
	return nil, fmt.Errorf("%s: %w", s.title, err)
}

// refused writes a handshake that failed to the log. Who merely looked whether the
// port is open, or lost its connection, is nobody to warn of.
func (s *Store) refused(remote net.Addr, err error) {
	reason, cert := s.reasonOf(err)
	if reason == "" {
		s.o.Logger.Debug("connection ended in the handshake", "for", s.title, "remote", remote, "error", err)
		return
	}
	s.o.Refusals.Note(acl.Refusal{Remote: remote, Identity: acl.Describe(cert), Reason: s.title + ": " + reason})
}

// reasonOf says why a handshake failed, in words that are the same each time, and which
// certificate the other end has shown, if it came to that. There is no reason
// where the other end said nothing wrong.
func (s *Store) reasonOf(err error) (reason string, cert *x509.Certificate) {
	var unverified *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch text := err.Error(); {
	case errors.As(err, &unverified):
		if len(unverified.UnverifiedCertificates) > 0 {
			cert = unverified.UnverifiedCertificates[0]
		}
		return s.mistrust(unverified.Err, cert), cert
	case errors.As(err, &plain):
		return "it speaks no TLS: give it a tls block, or the address of another listener", nil
	case strings.Contains(text, "client didn't provide a certificate"): // crypto/tls has no types for these
		return "it shows no certificate, and require_client_cert demands one: give it cert_file and key_file in its tls block", nil
	case strings.Contains(text, "client offered only unsupported versions"):
		return "it speaks no TLS 1.3: use a newer version of it", nil
	case strings.Contains(text, "client requested unsupported application protocols"):
		return "it speaks another protocol than this listener: check the address that it uses", nil
	case alertOf(err) != "":
		return "it refuses this node's certificate (" + alertOf(err) + "): check its ca_file, and that the certificate names the address that it dials", nil
	case connectionLost(err):
		return "", nil
	}
	return "the handshake failed: " + clip(err.Error()), nil
}

// mistrust puts the reason why a certificate isn't trusted into words.
func (s *Store) mistrust(err error, cert *x509.Certificate) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var hostname x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return "its certificate comes from an authority that " + s.trusted() + " doesn't hold"
	case errors.As(err, &hostname):
		return fmt.Sprintf("its certificate is for %s and not for %s: make one that names the address, or dial another", names(cert), hostname.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return validity(invalid.Cert, s.o.Clock())
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "its certificate isn't made for this use (extended key usage): make another one"
	}
	return "its certificate can't be verified: " + clip(err.Error())
}

func (s *Store) trusted() string {
	if s.files.CAFile == "" {
		return "this machine's list of authorities"
	}
	return caKey + " " + s.files.CAFile
}

// names are those that a certificate is good for.
func names(cert *x509.Certificate) string {
	if cert == nil {
		return "another host"
	}
	all := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no host at all"
	}
	return clip(strings.Join(all, ", "))
}

// validity says of a certificate, of the other end's or of one above it, that this
// isn't its time.
func validity(cert *x509.Certificate, now time.Time) string {
	whose := "its certificate"
	if cert.IsCA {
		whose = "the certificate of its authority"
	}
	if now.Before(cert.NotBefore) {
		return whose + " isn't valid before " + shown(cert.NotBefore) + ": check the clocks of both machines"
	}
	return whose + " expired on " + shown(cert.NotAfter) + ": put a new one in its place"
}

// alertOf is what the other end has said against a handshake, as TLS calls it; empty: nothing.
func alertOf(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	return strings.TrimPrefix(op.Err.Error(), "tls: ")
}

func connectionLost(err error) bool {
	var network net.Error // a reset, a closed connection, a deadline
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}

// Bounds of what is read from who was refused.
const (
	hangUpTimeout = 2 * time.Second
	hangUpBytes   = 64 << 10
)

// hangUp closes a connection so that the other end reads why. It may have sent
// more already, which it may in TLS 1.3 before its certificate is looked at: closed with that
// unread, the connection would be reset, and the reason lost with it. ctx cuts this short.
func hangUp(ctx context.Context, raw net.Conn) {
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil &&
		raw.SetReadDeadline(time.Now().Add(hangUpTimeout)) == nil {
		_, _ = io.CopyN(io.Discard, raw, hangUpBytes) // whatever it was, it is over
	}
	_ = raw.Close()
}

// answerPlainHTTP tells a client of HTTP that it should have spoken TLS.
func answerPlainHTTP(err error, protocol string) {
	var plain tls.RecordHeaderError
	if protocol != http1 || !errors.As(err, &plain) || plain.Conn == nil || !looksLikeHTTP(plain.RecordHeader) {
		return
	}
	const body = `{"error":"this listener speaks TLS: write the address with https://","code":"BAD_REQUEST"}` + "\n"
	_, _ = fmt.Fprintf(plain.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// looksLikeHTTP says whether what came instead of a TLS record begins as a request does.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "DELET", "OPTIO", "PATCH":
		return true
	}
	return false
}
