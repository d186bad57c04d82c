package topology

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of names; they are those of the configuration.
var (
	namespaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	nodeName      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	nodePattern   = regexp.MustCompile(`^[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,127}$`)
	pluginName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)
	pluginType    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	labelName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$`)
	labelValue    = regexp.MustCompile(`^[^,=\s]{0,128}$`)
	hex128        = regexp.MustCompile(`^[0-9a-f]{32}$`)
	hex256        = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// The limits of lists and texts.
const (
	maxLabels   = 64   // of a relayer, a token, a selector
	maxPatterns = 1000 // of one list
	maxText     = 256  // bytes of an address, a version, a region
)

func checkNamespace(name string) error {
	if !namespaceName.MatchString(name) {
		return refuse(CodeInvalidName, "%s is no namespace name: use 1 to 64 of A-Z a-z 0-9 . _ -, and begin with a letter or digit", quoted(name))
	}
	return nil
}

func checkNode(id string) error {
	if !nodeName.MatchString(id) {
		return refuse(CodeInvalidName, "%s is no node id: use 1 to 128 of A-Z a-z 0-9 . _ -, and begin with a letter or digit", quoted(id))
	}
	return nil
}

func checkPattern(pattern string) error {
	if !nodePattern.MatchString(pattern) {
		return refuse(CodeInvalidName, "%s is no node id and no pattern of ids: use 1 to 128 of A-Z a-z 0-9 . _ -, * for any text and ? for one character", quoted(pattern))
	}
	return nil
}

func checkPatterns(what string, patterns []string) error {
	if len(patterns) > maxPatterns {
		return refuse(CodeTooLarge, "there are %d %s, and %d are the most: use patterns", len(patterns), what, maxPatterns)
	}
	for _, p := range patterns {
		if err := checkPattern(p); err != nil {
			return err
		}
	}
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return refuse(CodeTooLarge, "there are %d labels, and %d are the most", len(labels), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if !labelName.MatchString(name) {
			return refuse(CodeInvalidName, "%s is no label name: use 1 to 64 of A-Z a-z 0-9 . _ / -, and begin with a letter or digit", quoted(name))
		}
		if v := labels[name]; !labelValue.MatchString(v) || !utf8.ValidString(v) {
			return refuse(CodeInvalidName, "%s is no value of a label: use at most 128 characters without white space, comma and equals sign", quoted(v))
		}
	}
	return nil
}

func checkHex128(what, s string) error {
	if !hex128.MatchString(s) || strings.Trim(s, "0") == "" {
		return refuse(CodeBadRequest, "%s is no %s: that is 32 hexadecimal digits (small letters), not all of them 0", quoted(s), what)
	}
	return nil
}

func checkTexts(texts ...string) error {
	for _, s := range texts {
		if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return refuse(CodeBadRequest, "%s is too long or holds control characters: use at most %d bytes of text", quoted(s), maxText)
		}
	}
	return nil
}

// isPattern says whether text stands for more than one id.
func isPattern(text string) bool { return strings.ContainsAny(text, "*?") }

// matches says whether a pattern stands for an id. Patterns were checked before they came into the state.
func matches(pattern, id string) bool {
	ok, err := path.Match(pattern, id)
	return ok && err == nil
}

func matchesAny(patterns []string, id string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, id) })
}

// selects says whether labels have all that a selector asks for. An empty selector selects nobody.
func selects(selector, labels map[string]string) bool {
	for name, value := range selector {
		if have, ok := labels[name]; !ok || have != value {
			return false
		}
	}
	return len(selector) > 0
}

// quoted is text of somebody else in quotes, on one short line.
func quoted(s string) string {
	const most = 140
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
