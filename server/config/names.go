package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Names of things. Those of namespaces, notifiers and models become names of
// files and parts of addresses, so that nothing else may get in.
var (
	namespaceName = matching(regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`), "namespace name",
		"1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first", "orders", "stock")
	nodeName = matching(regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`), "node id",
		"1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first", "a", "b")
	plugName = matching(regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`), "name of a plugin",
		"1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first", "kv", "row")
	plugType = matching(regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`), "type of a plugin",
		"1 to 32 lower-case letters, digits and dashes, as in the program's name", "a", "b")
	upstreamName = matching(regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`), "upstream name",
		"1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first", "a", "b")
	nodePattern = matching(regexp.MustCompile(`^[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,127}$`), "node id or pattern",
		`a node id, in which * stands for any text and ? for one character`, "edge-*", "*")
	sha256 = matching(regexp.MustCompile(`^[0-9A-Fa-f]{64}$`), "SHA-256 checksum",
		"64 hexadecimal digits, as sha256sum prints them", strings.Repeat("0", 64), strings.Repeat("1", 64))
	labelName = matching(regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$`), "label name",
		"1 to 64 letters, digits, dots, dashes, slashes and underscores, a letter or digit first", "a", "b")
	labelValue = matching(regexp.MustCompile(`^[^,=\s]{0,128}$`), "label value",
		"up to 128 characters without spaces, commas and equals signs", "a", "b")
)

// modelName takes a data model's name. Notifications tell its keys' changes by it, and
// those of all other keys by words that are taken.
var modelName = kind[string]{plugName.form, takeModelName}

func takeModelName(v cty.Value) (string, *problem) {
	s, p := plugName.take(v)
	if p == nil && (s == "kv" || s == "row" || s == "lob") {
		p = &problem{message: fmt.Sprintf("a model can't be called %q", s), suggestion: "notifications call keys, rows and large objects so; use another name"}
	}
	return s, p
}

// named checks a label of a block.
func (d *decoder) named(k kind[string], label string, at hcl.Range) bool {
	_, p := k.take(cty.StringVal(label))
	if p != nil {
		d.add(at, p)
	}
	return p == nil
}

// acks takes who must have a write before it is acknowledged: local, quorum or
// a number of hubs.
var acks = kind[string]{form{"`\"local\"`, `\"quorum\"` or a number of hubs", quoted("local", "quorum")}, takeAcks}

func takeAcks(v cty.Value) (string, *problem) {
	s, p := text(v)
	if p != nil || s == "local" || s == "quorum" {
		return s, p
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 99 {
		return "", &problem{message: fmt.Sprintf("acks can't be %q", s), suggestion: `use "local", "quorum" or a number of hubs, the owner included`}
	}
	return strconv.Itoa(n), nil
}
