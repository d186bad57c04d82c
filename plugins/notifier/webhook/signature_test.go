package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// verify says whether a body comes from whoever knows the secret, and was sent
// within the last five minutes.
func verify(secret, header string, body []byte, now time.Time) bool {
	var sent string
	var signatures []string
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "t":
			sent = value
		case "v1":
			signatures = append(signatures, value)
		}
	}
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(sent + "."))
	mac.Write(body)
	want := hex.EncodeToString(mac.Sum(nil))
	return slices.ContainsFunc(signatures, func(s string) bool { return hmac.Equal([]byte(s), []byte(want)) })
}

// inPython is the same for who writes Python, in a program of its own. The guide shows both.
const inPython = "../../../examples/webhook-receiver"

// TestSignature is what a receiver makes of the header.
func TestSignature(t *testing.T) {
	body, now := []byte(`{"events":[]}`), time.Unix(1_795_262_400, 0)
	one, both := signature([]string{"new"}, now, body), signature([]string{"new", "old"}, now, body)
	cases := []signed{
		{"right", "new", one, body, now, true},
		{"within five minutes", "new", one, body, now.Add(4 * time.Minute), true},
		{"sent again later", "new", one, body, now.Add(6 * time.Minute), false},
		{"sent in the future", "new", one, body, now.Add(-6 * time.Minute), false},
		{"another body", "new", one, []byte(`{"events":[{}]}`), now, false},
		{"another time", "new", strings.Replace(one, "t=1795262400", "t=1795262401", 1), body, now, false},
		{"another secret", "other", one, body, now, false},
		{"while the secret changes, the receiver still has the old one", "old", both, body, now, true},
		{"while the secret changes, the receiver already has the new one", "new", both, body, now, true},
		{"after the change", "old", one, body, now, false},
		{"no header", "new", "", body, now, false},
		{"no signature", "new", "t=1795262400", body, now, false},
		{"no time", "new", one[strings.Index(one, ",")+1:], body, now, false},
	}
	for _, c := range cases {
		if got := verify(c.secret, c.header, c.body, c.now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	t.Run("python", func(t *testing.T) {
		for i, got := range verifyInPython(t, cases) {
			if c := cases[i]; got != c.want {
				t.Errorf("%s: %v", c.name, got)
			}
		}
	})
}

// signed is a request and what a receiver should think of it.
type signed struct {
	name, secret, header string
	body                 []byte
	now                  time.Time
	want                 bool
}

// verifyInPython runs the example's.
func verifyInPython(t *testing.T, cases []signed) (got []bool) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3: make bootstrap")
	}
	var input [][]any
	for _, c := range cases {
		input = append(input, []any{c.secret, c.header, string(c.body), c.now.Unix()})
	}
	encoded, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-B", "-c", `
import json, sys
from receiver import verify
print(json.dumps([verify(secret, header, body.encode(), now) for secret, header, body, now in json.load(sys.stdin)]))
`)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+inPython)
	cmd.Stdin = bytes.NewReader(encoded)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(cases) {
		t.Fatalf("%v: %s", err, out)
	}
	return got
}

// TestSignedRequests are, with each secret; a known answer holds the form.
func TestSignedRequests(t *testing.T) {
	r := newReceiver(t, nil)
	w := notifierOf(t, r, map[string]any{"secret": "new", "previous_secret": "old"})
	notify(t, w, batchOf("a"))
	c := r.requests()[0]
	header := c.header.Get(signatureHeader)
	for secret, want := range map[string]bool{"new": true, "old": true, "other": false} {
		if got := verify(secret, header, c.body, time.Now()); got != want {
			t.Errorf("secret %s: %v, header %s", secret, got, header)
		}
	}
	const known = "t=1,v1=842b24d9575dee4b6ec460b7e3af7d683501d84fe6279102340787c79d2e2bab" // openssl dgst -hmac
	if got := signature([]string{"secret"}, time.Unix(1, 0), []byte("body")); got != known {
		t.Errorf("the header is %s, expected %s", got, known)
	}
}
