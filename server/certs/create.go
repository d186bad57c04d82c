package certs

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/config"
)

// backdate is how long before it was made a certificate begins to hold, for
// machines whose clocks are behind.
const backdate = time.Hour

// Pair is a certificate and its key.
type Pair struct {
	Certificate *x509.Certificate
	CertPEM     []byte
	KeyPEM      []byte // PKCS #8, not encrypted
}

// Authority is a CA: it signs certificates of a test or a small fleet.
type Authority struct {
	Pair
	key crypto.Signer
}

// NewAuthority makes a CA that holds from an hour before now until notAfter.
func NewAuthority(name string, now, notAfter time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true, // it signs no other CAs
	}
	pair, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	return &Authority{Pair: *pair, key: key}, nil
}

// LoadAuthority reads a CA and its key.
func LoadAuthority(certFile, keyFile string, now time.Time) (*Authority, error) {
	files := config.TLS{CertFile: certFile, KeyFile: keyFile}
	c, err := read(files)
	if err != nil {
		return nil, err
	}
	pair, err := parsePair(files, c, forAnyUse)
	if err != nil {
		return nil, err
	}
	if err := outOfTime(certFile, pair.Leaf, now); err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fileError(certKey, certFile, "it isn't a CA: name the certificate that \"unisondb tls ca create\" made")
	}
	return &Authority{Pair: Pair{Certificate: pair.Leaf, CertPEM: c.cert, KeyPEM: c.key}, key: key}, nil
}

// Request is what a certificate is to say. Zero fields have defaults.
type Request struct {
	Identity acl.Identity // required
	// DNSNames and IPs are what others dial to reach the holder, which a client is never.
	DNSNames  []string
	IPs       []net.IP
	NotBefore time.Time // an hour before now
	NotAfter  time.Time // a year after now; never after the CA's
}

// Issue signs a certificate.
func (a *Authority) Issue(r Request, now time.Time) (*Pair, error) {
	if err := r.Identity.Check(); err != nil {
		return nil, err
	}
	if r.NotBefore.IsZero() {
		r.NotBefore = now.Add(-backdate)
	}
	if r.NotAfter.IsZero() {
		r.NotAfter = now.AddDate(1, 0, 0)
	}
	if r.NotAfter.After(a.Certificate.NotAfter) {
		r.NotAfter = a.Certificate.NotAfter
	}
	if !r.NotBefore.Before(r.NotAfter) {
		return nil, fmt.Errorf("the certificate would hold from %s to %s, which is no time: give it more days, or make a new CA", shown(r.NotBefore), shown(r.NotAfter))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: r.Identity.Name},
		URIs:      []*url.URL{r.Identity.URI()},
		NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if r.Identity.Kind != acl.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames, template.IPAddresses = r.DNSNames, r.IPs
	}
	return sign(template, a.Certificate, key, a.key)
}

func sign(template, parent *x509.Certificate, key, by crypto.Signer) (*Pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1)) // never 0
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Pair{
		Certificate: cert,
		CertPEM:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// TLS is the pair for a tls.Config.
func (p *Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.CertPEM, p.KeyPEM) }

// Write writes the pair into two new files, the key readable by its owner alone. A
// file that is there stays as it is: somebody may need that key.
func (p *Pair) Write(certFile, keyFile string) error {
	if _, err := os.Lstat(certFile); err == nil {
		return exists(certFile)
	}
	if err := writeNew(keyFile, p.KeyPEM, 0o600); err != nil {
		return err
	}
	if err := writeNew(certFile, p.CertPEM, 0o644); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}

func writeNew(name string, b []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return exists(name)
	case err != nil:
		return fmt.Errorf("%w: check that the directory exists and that this user may write there", err)
	}
	_, err = f.Write(b)
	err = errors.Join(cmp.Or(err, f.Sync()), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func exists(name string) error {
	return fmt.Errorf("%s exists already and isn't overwritten: move it away, or name another directory", name)
}

// LoopbackNames are by what every machine reaches itself. The host's own name isn't among
// them: certificates are made for other machines, too, and their holders could then pass
// for this one.
func LoopbackNames() (names []string, ips []net.IP) {
	return []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
}
