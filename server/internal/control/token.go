package control

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/unisondb/unisondb/server/topology"
)

// A join token is ID and secret, as "unison-join.<id>.<secret>". The group's state
// has the id and the SHA-256 of the secret.
const tokenPrefix = "unison-join"

// Defaults and limits of join tokens.
const (
	DefaultTokenTTL = time.Hour
	MaxTokenTTL     = 365 * 24 * time.Hour
	MaxTokenUses    = 1_000_000
)

// TokenOptions say what a join token is good for. Zero fields have defaults.
type TokenOptions struct {
	TTL     time.Duration     // DefaultTokenTTL
	Uses    int               // 1
	Relayer string            // a pattern of the ids that may use it; any
	Labels  map[string]string // that its users get
}

// NewToken makes a join token as of now, and what of it belongs into the group's state.
// Nobody can ask for the secret later. An error says which option is out of bounds.
func NewToken(o TokenOptions, now time.Time) (secret string, t topology.Token, err error) {
	if o.TTL == 0 {
		o.TTL = DefaultTokenTTL
	}
	if o.Uses == 0 {
		o.Uses = 1
	}
	switch {
	case o.TTL < time.Second || o.TTL > MaxTokenTTL:
		return "", t, fmt.Errorf("a join token can't hold for %v: use 1s to %v", o.TTL, MaxTokenTTL)
	case o.Uses < 1 || o.Uses > MaxTokenUses:
		return "", t, fmt.Errorf("a join token can't be used %d times: use 1 to %d", o.Uses, MaxTokenUses)
	}
	id, key := randomText(5), randomText(20)
	t = topology.Token{
		ID: id, SHA256: hashOf(key), Expires: now.Add(o.TTL).UTC().Truncate(time.Second), Uses: o.Uses,
		Relayer: o.Relayer, Labels: maps.Clone(o.Labels),
	}
	return strings.Join([]string{tokenPrefix, id, key}, "."), t, nil
}

// parseToken splits a join token.
func parseToken(token string) (id, key string, ok bool) {
	prefix, rest, found := strings.Cut(strings.TrimSpace(token), ".")
	id, key, split := strings.Cut(rest, ".")
	return id, key, found && split && prefix == tokenPrefix && id != "" && key != ""
}

// tokenOf is the state's entry of a join token that can be used now by a relayer. What is wrong with
// another is said to the relayer's operator, but for what helps to guess one.
func tokenOf(s *topology.State, token string, now time.Time) (*topology.Token, error) {
	id, key, ok := parseToken(token)
	if !ok {
		return nil, refuse(CodeTokenRefused, "the join token has another form than %s.ID.SECRET: copy the whole of what 'unisondb operator relayer token' prints", tokenPrefix)
	}
	t := s.Tokens[id]
	switch {
	case t == nil || !matches(t.SHA256, key):
		return nil, refuse(CodeTokenRefused, "the join token isn't known: it was never made in this group of hubs, was revoked, or expired: make one by 'unisondb operator relayer token'")
	case now.After(t.Expires):
		return nil, refuse(CodeTokenRefused, "the join token expired at %s: make another one by 'unisondb operator relayer token'", t.Expires.Format(time.RFC3339))
	}
	return t, nil
}

// NewCredential is what a relayer shows instead of a certificate: 32 random
// characters.
func NewCredential() string { return randomText(20) }

// minCredential is the shortest credential that is taken, in bytes: a relayer of another
// make may not choose one that is easily guessed.
const minCredential = 32

// hashOf is the SHA-256 of a secret, in hexadecimal. Secrets here are random and
// long, so that nothing slower is needed.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// matches says whether a secret has a hash, in a time that doesn't depend on where they differ.
func matches(hash, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(hashOf(secret))) == 1
}

// randomText is n random bytes, a multiple of five, in lower-case letters and digits.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails, says crypto/rand
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}
