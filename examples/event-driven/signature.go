package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxAge is how old a request may be, so that nobody can send a recorded one again later.
const maxAge = 5 * time.Minute

// genuine reports whether a body comes from whoever knows the secret.
func genuine(secret, header string, body []byte, now time.Time) bool {
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
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > maxAge {
		return false
	}
	want := sign(secret, sent, body)
	return slices.ContainsFunc(signatures, func(s string) bool { return hmac.Equal([]byte(s), []byte(want)) })
}

func sign(secret, sent string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(sent + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
