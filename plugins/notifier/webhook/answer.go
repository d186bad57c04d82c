package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// maxRetryAfter bounds what a receiver may ask for: a mistake in its date must
// not end delivery.
const maxRetryAfter = time.Hour

// maxReason is how much of an answer's body, in bytes, is repeated in a reason.
const maxReason = 256

// answer is what became of a request. A cause of 0: it was accepted.
type answer struct {
	cause      notifier.Cause
	reason     string
	retryAfter time.Duration
	// aboutEvents says that the refusal may be about single events of the request: it
	// is worth sending them in smaller ones.
	aboutEvents bool
	tooLarge    bool
}

func (a answer) accepted() bool { return a.cause == 0 }

// unavailable is the answer where there was none.
func unavailable(reason string) answer {
	return answer{cause: notifier.Unavailable, reason: reason}
}

// judge says what an HTTP answer means. Everything below 300 is accepted. What is
// refused would be refused again, and becomes a dead letter after the configured
// number of refusals; for everything else the receiver is waited for.
func judge(res *http.Response, body []byte, now time.Time) answer {
	a := answer{cause: notifier.Refused, reason: reasonOf(res, body)}
	switch status := res.StatusCode; {
	case status >= 200 && status < 300:
		return answer{}
	case status >= 300 && status < 400:
		a.reason += "; redirects aren't followed: set url to where the receiver is"
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		a.cause = notifier.Unavailable
		a.retryAfter = retryAfter(res.Header, now)
	case status == http.StatusBadRequest, status == http.StatusConflict, status == http.StatusUnprocessableEntity:
		a.aboutEvents = true
	case status == http.StatusRequestEntityTooLarge:
		a.aboutEvents, a.tooLarge = true, true
	}
	return a
}

// reasonOf is a status and the beginning of a body, in one printable line.
func reasonOf(res *http.Response, body []byte) string {
	text := fmt.Sprintf("the receiver answered %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	if said := printable(body); said != "" {
		text += ": " + said
	}
	return strings.TrimSpace(text)
}

// printable makes one line of what a receiver says: it appears in logs and on
// terminals, and is not to be trusted.
func printable(body []byte) string {
	cut := len(body) > maxReason
	if cut {
		body = body[:maxReason]
	}
	line := strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar:
			return -1
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(body), ""))
	line = strings.Join(strings.Fields(line), " ")
	if cut {
		line += " …"
	}
	return line
}

// retryAfter is how long an answer asks to be left alone; 0 where it doesn't say.
// A date is compared with the receiver's own clock where the answer tells it.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	var wait time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
			now = theirs
		}
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
