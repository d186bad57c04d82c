package process

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Errors of Notify and Call.
var (
	// ErrStopped: the process was stopped for good.
	ErrStopped = errors.New("the plugin is stopped")
	// ErrNotReady: the plugin doesn't work at the moment.
	ErrNotReady = errors.New("the plugin isn't ready")
	// ErrHung: the plugin didn't answer in time and was killed.
	ErrHung = errors.New("the plugin hung and was killed")
)

// errMisconfigured: the configuration is to blame, and not the program.
var errMisconfigured = errors.New("wrong configuration")

// retry says what can mend a failure.
type retry int

const (
	// retrySoon: another start, after a backoff.
	retrySoon retry = iota
	// retryLate: another start, after a long while.
	retryLate
	// retryChanged: only another program, or another configuration.
	retryChanged
)

// failure is why a plugin doesn't work. Its reason is for the operator: what is
// wrong, and what to do.
type failure struct {
	reason string
	retry  retry
	err    error // what it came from; may be nil
	// configuring says that the plugin had come as far as its configuration: that is where it
	// takes what only one process may have, such as a port.
	configuring bool
}

// Error implements error.
func (f *failure) Error() string { return f.reason }

// Unwrap is what it came from.
func (f *failure) Unwrap() error { return f.err }

func failed(r retry, format string, args ...any) *failure {
	return &failure{reason: fmt.Sprintf(format, args...), retry: r}
}

// asFailure takes an error for a failure that may be over at the next start.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{reason: err.Error(), retry: retrySoon, err: err}
}

// Limits of what a plugin says about itself.
const (
	maxMessage = 1000 // bytes of one message
	maxShown   = 20   // problems, methods' names, lines
)

// printable makes what a plugin says fit to be shown: one line of valid UTF-8
// without control characters, not longer than limit bytes.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	s = strings.ToValidUTF8(s, "\ufffd")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}
