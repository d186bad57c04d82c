package main

import (
	"bytes"
	"html"
	"regexp"
	"strings"
)

// prose is text with its paragraphs.
func prose(s string) string {
	var paragraphs []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			paragraphs = append(paragraphs, text(line))
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// text is prose that Markdown and Vue show as it is, but for what stands in back quotes and links.
func text(s string) string {
	parts := strings.Split(strings.ReplaceAll(s, "\n", " "), "`")
	for i := range parts {
		if i%2 == 1 {
			continue
		}
		parts[i] = strings.NewReplacer("<", "&lt;", ">", "&gt;", "{{", "&#123;&#123;", "*", `\*`).Replace(parts[i])
	}
	return withoutVue(strings.Join(parts, "`"))
}

var vueInCode = regexp.MustCompile("`([^`]*\\{\\{[^`]*)`")

// withoutVue keeps Vue from computing what stands in double braces in back quotes.
func withoutVue(s string) string {
	return vueInCode.ReplaceAllStringFunc(s, func(span string) string {
		return "<code v-pre>" + html.EscapeString(strings.Trim(span, "`")) + "</code>"
	})
}

// cell is text in a table.
func cell(s string) string { return strings.ReplaceAll(text(s), "|", `\|`) }

// code is a string in back quotes, in a table.
func code(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }

var noIdentifier = regexp.MustCompile(`[^a-z0-9]+`)

// identifier is an anchor: lower case, with dashes for all that is no letter and no digit.
func identifier(s string) string {
	return strings.Trim(noIdentifier.ReplaceAllString(strings.ToLower(s), "-"), "-")
}

var manyLines = regexp.MustCompile(`\n{3,}`)

// tidy removes what templates leave behind.
func tidy(b []byte) []byte {
	b = manyLines.ReplaceAll(b, []byte("\n\n"))
	return append(bytes.TrimRight(b, "\n"), '\n')
}
