package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// signatureHeader carries the time of sending and one signature for each secret.
const signatureHeader = "X-Unisondb-Signature"

// signature is the header's value for a body: "t=<seconds since 1970>", then
// "v1=<hex>" for each secret, which is the HMAC-SHA256 of "<t>.<body>". The time is
// signed with the body, so that a receiver can refuse an old request that somebody
// sends again; there are several signatures while a secret is being changed, so that
// receivers can change theirs at any time in between.
func signature(secrets []string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	var b strings.Builder
	fmt.Fprintf(&b, "t=%s", t)
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(t))
		mac.Write([]byte{'.'})
		mac.Write(body)
		fmt.Fprintf(&b, ",v1=%x", mac.Sum(nil))
	}
	return b.String()
}

// idempotencyKey is the same for requests of the same body and for no others.
// The numbers of the first and the last event would not do: after a crash the same
// changes may come in other batches.
func idempotencyKey(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
