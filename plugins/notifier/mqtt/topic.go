package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTopic is how long a topic's UTF-8 may be, by MQTT's two bytes of length.
const maxTopic = 65535

// resetKey stands in a topic for the key of an event that has none. No key is
// written like this: behind the percent sign of an escaped byte are two
// hexadecimal digits.
const resetKey = "%reset"

// Names of what a topic may be made of.
const (
	varNamespace = "namespace"
	varEntryType = "entry_type"
	varKey       = "key"
	varOperation = "operation"
)

var variables = []string{varNamespace, varEntryType, varKey, varOperation}

// template makes topics: text with variables between.
type template []part

// part is text, or a variable if it has a name.
type part struct {
	text string
	name string
}

// parseTemplate reads a template such as "unisondb/{{namespace}}/{{key}}". Its
// errors say what to write instead.
func parseTemplate(s string) (template, error) {
	var t template
	for rest := s; rest != ""; {
		text, behind, found := strings.Cut(rest, "{{")
		if text != "" {
			t = append(t, part{text: text})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(behind, "}}")
		if !closed {
			return nil, fmt.Errorf("a {{ in it isn't closed: write }} behind the variable's name")
		}
		name = strings.TrimSpace(name)
		if !known(name) {
			return nil, fmt.Errorf("{{%s}} isn't known: use {{%s}}", name, strings.Join(variables, "}}, {{"))
		}
		t = append(t, part{name: name})
		rest = after
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("it is empty: leave it out for %s", defaultTopic)
	}
	return t, t.check()
}

func known(name string) bool {
	for _, v := range variables {
		if v == name {
			return true
		}
	}
	return false
}

// check says what is wrong with the text between the variables.
func (t template) check() error {
	if strings.HasPrefix(t[0].text, "$") {
		return fmt.Errorf("it begins with $, which is the broker's own: begin it with another character")
	}
	for i, p := range t {
		if p.name != "" && i > 0 && !strings.Contains(t[i-1].text, "/") && t.variableBefore(i) {
			return fmt.Errorf("there is no / in front of {{%s}}: put one there, for otherwise different values could make one topic", p.name)
		}
		for i, r := range p.text {
			if r == '+' || r == '#' {
				return fmt.Errorf("%q is for subscribers only: a topic that is written to has none", r)
			}
			if _, size := utf8.DecodeRuneInString(p.text[i:]); r == utf8.RuneError && size == 1 || unprintable(r) {
				return fmt.Errorf("%q can't stand in a topic: leave it out", r)
			}
		}
	}
	return nil
}

// variableBefore reports whether a variable stands before the i-th part.
func (t template) variableBefore(i int) bool {
	for _, p := range t[:i] {
		if p.name != "" {
			return true
		}
	}
	return false
}

// has reports whether a variable is in the template.
func (t template) has(name string) bool {
	for _, p := range t {
		if p.name == name {
			return true
		}
	}
	return false
}

// topic puts values into the template. They are escaped, so that each fills a
// part of one level and different values never make one topic.
func (t template) topic(namespace, entryType, key, operation string) (string, error) {
	var b strings.Builder
	for _, p := range t {
		switch p.name {
		case varNamespace:
			b.WriteString(namespace)
		case varEntryType:
			b.WriteString(entryType)
		case varKey:
			b.WriteString(key)
		case varOperation:
			b.WriteString(operation)
		default:
			b.WriteString(p.text)
		}
	}
	if b.Len() > maxTopic {
		return "", fmt.Errorf("the topic would have %d bytes, and MQTT allows %d", b.Len(), maxTopic)
	}
	return b.String(), nil
}

// escape writes any bytes as a part of one level of a topic: bytes that aren't
// allowed there, or that mean something, as a percent sign and two hexadecimal
// digits, all others as they are. Whatever decodes percent-encoding gets the bytes
// back. No bytes at all are a percent sign alone, for an empty level is easily
// lost.
func escape[T string | []byte](v T) string {
	s := string(v)
	if s == "" {
		return "%"
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if plain(r, size) {
			b.WriteString(s[i : i+size])
		} else {
			for _, c := range []byte(s[i : i+size]) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		i += size
	}
	return b.String()
}

// plain reports whether a character, read from so many bytes, needs no escaping.
func plain(r rune, size int) bool {
	if r == utf8.RuneError && size <= 1 || unprintable(r) {
		return false
	}
	switch r {
	case '%', // escapes
		'/',      // parts levels
		'+', '#', // are wildcards
		'$': // marks a broker's own topics, and shared subscriptions
		return false
	}
	return true
}

// unprintable reports whether MQTT lets a receiver end the connection at a
// character: control characters, those that never are one, and NUL in any case. A
// byte order mark at the front is invisible, so that it isn't left there either.
func unprintable(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f ||
		r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe || r == 0xfeff
}
