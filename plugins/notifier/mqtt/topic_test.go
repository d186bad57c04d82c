package main

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"user:1":       "user:1",
		"a b.c-d_e~f":  "a b.c-d_e~f",
		"grün/日本":      "grün%2F日本",
		"a+b#c":        "a%2Bb%23c",
		"50%":          "50%25",
		"$SYS":         "%24SYS",
		"a$b":          "a%24b",
		"":             "%",
		"%":            "%25",
		"%reset":       "%25reset",
		"\x00\x1f\x7f": "%00%1F%7F",
		"\u0085":       "%C2%85",
		"\ufeffa":      "%EF%BB%BFa",
		"\uffff":       "%EF%BF%BF",
		"\U0001fffe":   "%F0%9F%BF%BE",
		"\ufdd0":       "%EF%B7%90",
		"\ufffd":       "\ufffd",
		"\xff\xfe":     "%FF%FE",
		"a\xc3":        "a%C3",
		"\xed\xa0\x80": "%ED%A0%80", // half of a surrogate pair
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever the key: it fills one level, is allowed there, and can be read back.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "%41", "$", "+", "\xff", "\x00", "\u2028", "ü", "%reset"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		got := escape(key)
		if !utf8.ValidString(got) || got == "" || strings.ContainsAny(got, "/+#$\x00") || got == resetKey {
			t.Fatalf("escape(%q) = %q, which can't be a level", key, got)
		}
		for _, r := range got {
			if unprintable(r) {
				t.Fatalf("escape(%q) = %q has %U", key, got, r)
			}
		}
		if len(key) == 0 {
			return
		}
		back, err := url.PathUnescape(got)
		if err != nil || back != string(key) {
			t.Fatalf("escape(%q) = %q, which is read back as %q, %v", key, got, back, err)
		}
	})
}

func TestTemplate(t *testing.T) {
	for _, test := range []struct{ template, want string }{
		{defaultTopic, "unisondb/orders/kv/a%2Fb"},
		{"{{ key }}", "a%2Fb"},
		{"x/{{key}}/{{operation}}/y", "x/a%2Fb/put/y"},
		{"site-1/{{namespace}}.db/{{key}}", "site-1/orders.db/a%2Fb"},
		{"all", "all"},
		{"/", "/"},
	} {
		tmpl, err := parseTemplate(test.template)
		if err != nil {
			t.Errorf("%q: %v", test.template, err)
			continue
		}
		got, err := tmpl.topic(escape("orders"), escape("kv"), escape("a/b"), escape("put"))
		if err != nil || got != test.want {
			t.Errorf("%q makes %q, %v, want %q", test.template, got, err, test.want)
		}
	}
}

func TestBadTemplates(t *testing.T) {
	for _, test := range []struct{ template, message string }{
		{"", "empty"},
		{"a/{{key", "}}"},
		{"a/{{kex}}", "isn't known"},
		{"a/{{}}", "isn't known"},
		{"a/+/{{key}}", "subscribers only"},
		{"a/#", "subscribers only"},
		{"$SYS/{{key}}", "begins with $"},
		{"a\x00", "leave it out"},
		{"a\xff", "leave it out"},
		{"a\n", "leave it out"},
		{"{{namespace}}{{key}}", "put one there"},
		{"{{namespace}}-{{key}}", "put one there"},
		{"a/{{namespace}}.{{entry_type}}/{{key}}", "put one there"},
	} {
		if _, err := parseTemplate(test.template); err == nil || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%q: %v, want %q", test.template, err, test.message)
		}
	}
}

func TestLongTopic(t *testing.T) {
	tmpl, err := parseTemplate(strings.Repeat("x", 65000) + "/{{key}}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.topic("", "", escape("short"), ""); err != nil {
		t.Error(err)
	}
	if got, err := tmpl.topic("", "", escape(strings.Repeat("/", 400)), ""); err == nil {
		t.Errorf("a topic of %d bytes was made", len(got))
	}
}
