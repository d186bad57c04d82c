package command

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	var r redactor
	for _, value := range []string{"eu", "hunter2!", "hunter2!-longer", "12345678"} {
		r.add(value)
	}
	for in, out := range map[string]string{
		"in eu-west the password hunter2! is":                       "in eu-west the password [redacted] is",
		"hunter2!-longer, hunter2!":                                 "[redacted], [redacted]",
		"amqp://me:pass@host/x?y=1 http://host/a@b":                 "amqp://[redacted]@host/x?y=1 http://host/a@b",
		"-----BEGIN EC PRIVATE KEY-----\nab\ncut off":               "[redacted]",
		`{"token":"x","tokens":3,"no_auth":true}`:                   `{"no_auth":true,"token":"[redacted]","tokens":"[redacted]"}`,
		`{"key_file":"/etc/k","KeyFile":"k","note":""}`:             `{"KeyFile":"k","key_file":"/etc/k","note":""}`,
		`{"a":[{"Password":""},"eu","euro"],"n":12345678,"m":1.50}`: `{"a":[{"Password":""},"[redacted]","euro"],"m":1.50,"n":"[redacted]"}`,
		`{"secret":{"deep":["x"]},"hunter2!":1}`:                    `{"[redacted]":1,"secret":"[redacted]"}`,
	} {
		got := strings.Join(strings.Fields(string(r.document([]byte(in)))), "")
		if want := strings.Join(strings.Fields(out), ""); got != want {
			t.Errorf("%s\n became %s\n expected %s", in, got, want)
		}
	}
}
