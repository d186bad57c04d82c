package command

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"
)

// explain puts an error into words that say what happened and what to do.
func (m *Meta) explain(err error, writes bool) string {
	var answer *client.Error
	var cert *tls.CertificateVerificationError
	var local *localError
	address := cmp.Or(m.connection.Address, m.getenv(envAddress), client.DefaultAddress)
	switch {
	case errors.As(err, &local):
		return err.Error()
	case errors.As(err, &cert):
		return fmt.Sprintf("the certificate of %s is not trusted: %v; give the CA that issued it with -ca-file", address, cert.Err)
	case errors.Is(err, client.ErrCertificate):
		cause := strings.TrimPrefix(err.Error(), client.ErrUnreachable.Error()+": ")
		return fmt.Sprintf("%s: %s; the client's certificate comes from -cert-file and -key-file", address, cause)
	case errors.Is(err, client.ErrUnreachable):
		cause := strings.TrimPrefix(err.Error(), client.ErrUnreachable.Error()+": ")
		return fmt.Sprintf("cannot reach %s: %s; is the node running? Its address comes from -address or $%s", address, cause, envAddress)
	case errors.As(err, &answer):
		return answerInWords(answer)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("%s does not speak TLS: write the address with http://", address)
	case strings.Contains(err.Error(), "malformed HTTP "): // net/http has no type for it
		return fmt.Sprintf("%s does not speak HTTP: give the address of the node's HTTP listener, not that of another one, and https:// where it speaks TLS", address)
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case writes && !errors.Is(err, client.ErrInvalid) && !errors.Is(err, client.ErrChecksum):
		return fmt.Sprintf("%v; whether it was written is unknown: read it back before another try", err)
	}
	return err.Error()
}

// answerInWords adds to a node's own words what only the command line knows.
func answerInWords(e *client.Error) string {
	text := e.Error()
	switch {
	case errors.Is(e, client.ErrUnauthorized):
		text += fmt.Sprintf("; the token comes from -token or $%s", envToken)
	case errors.Is(e, client.ErrNamespaceNotFound):
		text += fmt.Sprintf("; the namespace comes from -namespace or $%s, and '%s status' lists those of the node", envNamespace, Name)
	case errors.Is(e, client.ErrReadOnly) && e.Owner != "":
		text += fmt.Sprintf("; its owner is %s", e.Owner)
	case errors.Is(e, client.ErrNoLeader):
		text += "; commands that only read take -stale, which shows what the node has itself"
	case e.RetryAfter > 0:
		text += fmt.Sprintf("; try again in %v", e.RetryAfter)
	}
	return text
}

// localError is an error on this side of the connection: it says by itself what
// happened, and nothing has been sent.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func localf(format string, args ...any) error {
	return &localError{fmt.Errorf(format, args...)}
}
