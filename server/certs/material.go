package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/server/config"
)

// maxFile bounds a file, in bytes. The largest bundles of CAs have a quarter of it.
const maxFile = 1 << 20

// contents are the bytes of a tls block's files; nil: not configured.
type contents struct{ cert, key, ca []byte }

func (c contents) equal(o contents) bool {
	return bytes.Equal(c.cert, o.cert) && bytes.Equal(c.key, o.key) && bytes.Equal(c.ca, o.ca)
}

// fileError is about one file: which key of the configuration names it, and what is
// wrong with it.
func fileError(key, name, format string, args ...any) error {
	return fmt.Errorf("%s %s: %w", key, name, fmt.Errorf(format, args...))
}

// Keys of a tls block.
const (
	certKey = "cert_file"
	keyKey  = "key_file"
	caKey   = "ca_file"
)

// read reads the files of a tls block.
func read(t config.TLS) (c contents, err error) {
	for _, f := range []struct {
		key, name string
		to        *[]byte
	}{{certKey, t.CertFile, &c.cert}, {keyKey, t.KeyFile, &c.key}, {caKey, t.CAFile, &c.ca}} {
		if f.name == "" {
			continue
		}
		if *f.to, err = readFile(f.key, f.name); err != nil {
			return contents{}, err
		}
	}
	return c, nil
}

func readFile(key, name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fileError(key, name, "it isn't a regular file, which can be read again and again: check the path")
	case err == nil && info.Size() > maxFile:
		return nil, fileError(key, name, "it has %d bytes, more than any file of certificates: check the path", info.Size())
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(name)
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if err != nil {
		return nil, fileError(key, name, "%w: check the path, and that this user may read it", err)
	}
	return bytes.TrimPrefix(b, []byte("\ufeff")), nil // editors of other systems put that there
}

// material is what files hold, parsed and checked.
type material struct {
	contents
	pair *tls.Certificate // nil: none
	cas  []*x509.Certificate
}

// purpose is the extended key usage that a certificate needs for what it is used as.
type purpose struct {
	usage x509.ExtKeyUsage
	name  string
}

var (
	forServers = purpose{x509.ExtKeyUsageServerAuth, "servers"}
	forClients = purpose{x509.ExtKeyUsageClientAuth, "clients"}
	forAnyUse  = purpose{x509.ExtKeyUsageAny, ""}
)

// parse checks the files of a tls block, each and together, but for their time.
func parse(t config.TLS, c contents, p purpose) (*material, error) {
	m := &material{contents: c}
	var err error
	if c.cert != nil || c.key != nil {
		if m.pair, err = parsePair(t, c, p); err != nil {
			return nil, err
		}
	}
	if c.ca != nil {
		if m.cas, err = parseCAs(t.CAFile, c.ca); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// untimely says what of it isn't valid now. Of the CAs one is enough, for in the middle of
// a rotation another may have expired.
func (m *material) untimely(t config.TLS, now time.Time) error {
	if m.pair != nil {
		if err := outOfTime(t.CertFile, m.pair.Leaf, now); err != nil {
			return err
		}
	}
	for _, ca := range m.cas {
		if !now.After(ca.NotAfter) && !now.Before(ca.NotBefore) {
			return nil
		}
	}
	if m.cas == nil {
		return nil
	}
	return fileError(caKey, t.CAFile, "no CA in it is valid now: the first is from %s to %s", shown(m.cas[0].NotBefore), shown(m.cas[0].NotAfter))
}

// pool is the CAs as package tls takes them; nil: none are named.
func (m *material) pool() *x509.CertPool {
	if m.cas == nil {
		return nil
	}
	pool := x509.NewCertPool()
	for _, ca := range m.cas {
		pool.AddCert(ca)
	}
	return pool
}

func parsePair(t config.TLS, c contents, p purpose) (*tls.Certificate, error) {
	certs, err := parseCertificates(certKey, t.CertFile, c.cert)
	if err != nil {
		return nil, err
	}
	if err := checkKeyPEM(t.KeyFile, c.key); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(c.cert, c.key)
	switch leaf := certs[0]; {
	case err != nil && strings.Contains(err.Error(), "does not match"): // crypto/tls has no type for it
		return nil, fileError(keyKey, t.KeyFile, "it isn't the key of %s %s: name a certificate and the key that it was made for; in a chain the node's own certificate comes first", certKey, t.CertFile)
	case err != nil:
		return nil, fileError(keyKey, t.KeyFile, "%w: name a private key in PEM form", err)
	case !usable(leaf, p.usage):
		return nil, fileError(certKey, t.CertFile, "its extended key usage doesn't let it be one of %s, as it must be here: make one that does", p.name)
	}
	return &pair, nil
}

// outOfTime says of a certificate that this isn't its time; nil: it is.
func outOfTime(name string, cert *x509.Certificate, now time.Time) error {
	switch {
	case now.After(cert.NotAfter):
		return fileError(certKey, name, "it expired on %s: put a new certificate there", shown(cert.NotAfter))
	case now.Before(cert.NotBefore):
		return fileError(certKey, name, "it isn't valid before %s: check this machine's clock, or put another certificate there", shown(cert.NotBefore))
	}
	return nil
}

// usable says whether a certificate may be used for something; one that names
// no usages may be used for all.
func usable(cert *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return usage == x509.ExtKeyUsageAny || len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, usage) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// parseCAs takes a bundle.
func parseCAs(name string, text []byte) ([]*x509.Certificate, error) {
	certs, err := parseCertificates(caKey, name, text)
	if err != nil {
		return nil, err
	}
	for _, cert := range certs {
		if !cert.BasicConstraintsValid || !cert.IsCA {
			return nil, fileError(caKey, name, "%q isn't a CA: name the certificate of who signs the others", clip(cert.Subject.String()))
		}
	}
	return certs, nil
}

// parseCertificates reads the certificates of a PEM file, at least one. A block that can't be
// read isn't passed over: half a chain or a CA too few would refuse nodes that are in order.
func parseCertificates(key, name string, text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	var others []string
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			others = append(others, block.Type)
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fileError(key, name, "it holds a certificate that can't be read (%w): make it anew", err)
		}
		certs = append(certs, cert)
	}
	begun := bytes.Count(text, []byte("-----BEGIN "))
	switch unread := begun - len(certs) - len(others); {
	case unread > 0:
		return nil, fileError(key, name, "%d of its %d PEM blocks can't be read: it is cut short or damaged, write it anew", unread, begun)
	case len(certs) > 0:
		return certs, nil
	case isDER(text):
		return nil, fileError(key, name, inBinary)
	case len(others) > 0:
		return nil, fileError(key, name, "it holds no certificate but %s: name the file with the certificate", strings.Join(others, ", "))
	}
	return nil, fileError(key, name, "it holds no certificate in PEM form: name a file with -----BEGIN CERTIFICATE-----")
}

const inBinary = "it is in binary form (DER or PKCS #12): convert it to PEM, as openssl does"

// isDER says whether a file is, as a whole, what PEM is a wrapping of.
func isDER(b []byte) bool {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(b, &v)
	return err == nil && len(rest) == 0 && v.Tag == asn1.TagSequence && v.IsCompound
}

// checkKeyPEM says what is wrong with a key file before it comes to the key itself.
func checkKeyPEM(name string, text []byte) error {
	var others []string
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return fileError(keyKey, name, "the key is encrypted, and nobody is there to ask for its password: store it decrypted, readable by this user alone")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil
		}
		others = append(others, block.Type)
	}
	switch {
	case isDER(text):
		return fileError(keyKey, name, inBinary)
	case len(others) > 0:
		return fileError(keyKey, name, "it holds no private key but %s: name the file with the key", strings.Join(others, ", "))
	}
	return fileError(keyKey, name, "it holds no private key in PEM form: name a file with -----BEGIN PRIVATE KEY-----")
}

func shown(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
