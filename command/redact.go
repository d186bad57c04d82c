package command

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// redacted stands where something was that others must not see.
const redacted = "[redacted]"

// redactor takes secrets out of what is shown to others: values that are known to be
// some, what stands under a name that says so, passwords in URLs, and private keys.
type redactor struct {
	values []string // the longest first
}

// shortestSecret is how long a known value must be to be taken out of the middle of a
// text. A shorter one is only taken where it is all there is: "eu" is in too many words.
const shortestSecret = 5

func (r *redactor) add(value string) {
	if value == "" || slices.Contains(r.values, value) {
		return
	}
	r.values = append(r.values, value)
	slices.SortFunc(r.values, func(a, b string) int { return len(b) - len(a) })
}

var (
	secretName = regexp.MustCompile(`(?i)(secret|passw|passphrase|token|credential|private|api_?key|auth|signing|dsn)`)
	// pathName is the name of what says where a secret is, and of what only counts some.
	pathName = regexp.MustCompile(`(?i)(_file|File|_path|Path|_id|ID)$`)
	userInfo = regexp.MustCompile(`://[^/@\s"']+@`)
	pemKey   = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
)

// text redacts a text.
func (r *redactor) text(s string) string {
	for _, value := range r.values {
		if s == value {
			return redacted
		}
		if len(value) >= shortestSecret {
			s = strings.ReplaceAll(s, value, redacted)
		}
	}
	s = pemKey.ReplaceAllString(s, redacted)
	return userInfo.ReplaceAllString(s, "://"+redacted+"@")
}

// document redacts JSON by its structure, and anything else as text.
func (r *redactor) document(b []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return []byte(r.text(string(b)))
	}
	out, err := json.MarshalIndent(r.value(v), "", "  ")
	if err != nil {
		return []byte(redacted) // what was decoded can be encoded
	}
	return append(out, '\n')
}

func (r *redactor) value(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			if secretName.MatchString(name) && !pathName.MatchString(name) {
				out[r.text(name)] = hide(inner)
			} else {
				out[r.text(name)] = r.value(inner)
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = r.value(v[i])
		}
		return v
	case string:
		return r.text(v)
	case json.Number:
		if r.text(v.String()) != v.String() {
			return redacted
		}
	}
	return v
}

// hide redacts all of a value. That there is none, or that it is a switch, is no secret.
func hide(v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case string:
		if v == "" {
			return v
		}
	}
	return redacted
}
