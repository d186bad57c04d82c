package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// tlsPaths are the files of the block tls; each may be missing.
type tlsPaths struct {
	ca, cert, key string
}

// tlsFiles makes TLS settings of files, again when they change, so that a new
// certificate needs no restart. It is not safe for concurrent use.
type tlsFiles struct {
	paths tlsPaths
	seen  [3]stamp // of the files that were looked at last
}

// stamp tells two contents of a file apart.
type stamp struct {
	modified time.Time
	size     int64
}

func newTLSFiles(p tlsPaths) *tlsFiles { return &tlsFiles{paths: p} }

// changed is new settings where the files changed since the last time; nil where
// they didn't, or can't be used.
func (f *tlsFiles) changed() *tls.Config {
	before := f.seen
	if f.stamps() == before {
		return nil
	}
	config, err := f.load()
	if err != nil {
		return nil // they may be half written: their next change comes
	}
	return config
}

// load reads the files. Problems name the argument.
func (f *tlsFiles) load() (*tls.Config, error) {
	f.seen = f.stamps()
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	var problems plugin.Problems
	if f.paths.ca != "" {
		pem, err := os.ReadFile(f.paths.ca)
		pool := x509.NewCertPool()
		if err == nil && !pool.AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s holds no certificate in PEM form", f.paths.ca)
		}
		if err != nil {
			problems = append(problems, plugin.Problem{Path: "tls.ca_file", Message: fmt.Sprintf("%v: name a readable PEM file of the authorities that may sign the receiver's certificate", err)})
		}
		config.RootCAs = pool
	}
	if f.paths.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.paths.cert, f.paths.key)
		if err != nil {
			problems = append(problems, plugin.Problem{Path: "tls.cert_file", Message: fmt.Sprintf("%v: name a certificate and its key in PEM form", err)})
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return config, nil
}

// stamps describes the files as they are.
func (f *tlsFiles) stamps() (now [3]stamp) {
	for i, path := range []string{f.paths.ca, f.paths.cert, f.paths.key} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) || err != nil {
			continue
		}
		now[i] = stamp{modified: info.ModTime(), size: info.Size()}
	}
	return now
}
