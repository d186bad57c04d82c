package command

import (
	"context"
	"flag"
	"path/filepath"
	"time"

	"github.com/unisondb/unisondb/server/certs"
)

// Names of the files of a CA.
const (
	caCertName = "ca.crt"
	caKeyName  = "ca.key"
)

type tlsCACreateCommand struct {
	*Meta
	out  string
	name string
	days int
}

func (c *tlsCACreateCommand) spec() spec {
	return spec{
		synopsis: "Make a CA for a test or a small fleet",
		about: "Makes a certificate authority: " + caCertName + ", which every node gets as its ca_file, and " + caKeyName + ", which signs certificates " +
			"('unisondb tls cert create') and belongs on no node. Whoever has the key can be any node. Files that exist aren't overwritten. No node is asked.",
		examples: []string{
			"unisondb tls ca create",
			"unisondb tls ca create -out=pki -name=Example -days=730 -json",
		},
	}
}

func (c *tlsCACreateCommand) flags(fs *flag.FlagSet) {
	c.jsonFlag(fs)
	fs.StringVar(&c.out, "out", ".", "The `directory` for the files. Default: the current one.")
	fs.StringVar(&c.name, "name", "UnisonDB CA", "The CA's `name`, for people. Default: UnisonDB CA.")
	fs.IntVar(&c.days, "days", 3650, "How many `days` it is valid. Default: 3650.")
}

func (c *tlsCACreateCommand) run(context.Context, []string) error {
	if c.name == "" {
		return usagef("-name is empty: give the CA a name, or leave the flag out")
	}
	now := time.Now()
	notAfter, err := expiry(now, c.days)
	if err != nil {
		return err
	}
	ca, err := certs.NewAuthority(c.name, now, notAfter)
	if err != nil {
		return localf("make the CA: %w", err)
	}
	certFile, keyFile := filepath.Join(c.out, caCertName), filepath.Join(c.out, caKeyName)
	if err := ca.Write(certFile, keyFile); err != nil {
		return localf("write the CA: %w", err)
	}
	return c.made(&ca.Pair, certFile, keyFile)
}

// maxDays is a hundred years.
const maxDays = 36500

// expiry is so many days from now.
func expiry(now time.Time, days int) (time.Time, error) {
	if days < 1 || days > maxDays {
		return time.Time{}, usagef("-days=%d is out of range: give 1 to %d", days, maxDays)
	}
	return now.AddDate(0, 0, days), nil
}

// made reports a certificate that was written.
func (m *Meta) made(p *certs.Pair, certFile, keyFile string) error {
	fingerprint, notAfter := certs.Fingerprint(p.Certificate.Raw), p.Certificate.NotAfter
	if m.asJSON {
		return m.printJSON(struct {
			CertFile    string    `json:"cert_file"`
			KeyFile     string    `json:"key_file"`
			Fingerprint string    `json:"fingerprint"`
			NotAfter    time.Time `json:"not_after"`
		}{certFile, keyFile, fingerprint, notAfter})
	}
	m.message("%s and %s are made, valid until %s.", certFile, keyFile, formatExpiry(notAfter))
	m.message("SHA-256 fingerprint: %s", fingerprint)
	return nil
}
