package main

import (
	"fmt"
	"strings"
)

// roff is a page in the language of man(7) as it grows.
type roff struct {
	b     strings.Builder
	fresh bool // a paragraph has begun and has nothing in it
}

// macro writes a request with its arguments, each of them text.
func (r *roff) macro(name string, args ...string) {
	if name == "PP" && r.fresh {
		return
	}
	r.fresh = name == "PP" || name == "SH" || name == "SS"
	r.b.WriteString("." + name)
	for _, arg := range args {
		r.b.WriteString(` "` + strings.ReplaceAll(escape(arg), `"`, `\(dq`) + `"`)
	}
	r.b.WriteString("\n")
}

// text writes paragraphs, which a newline separates.
func (r *roff) text(s string) {
	first := true
	for paragraph := range strings.SplitSeq(s, "\n") {
		if strings.TrimSpace(paragraph) == "" {
			continue
		}
		if !first {
			r.macro("PP")
		}
		first = false
		r.fill(quoteCode(escape(paragraph)))
	}
}

// fill writes a paragraph in lines that aren't long.
func (r *roff) fill(paragraph string) {
	const width = 78
	line := ""
	for word := range strings.FieldsSeq(paragraph) {
		if line != "" && len(line)+1+len(word) > width {
			r.line(line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	r.line(line)
}

// line writes a line that is roff already. Where it would be taken for a request it is kept
// from it.
func (r *roff) line(s string) {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	r.b.WriteString(s + "\n")
	r.fresh = false
}

// code writes lines as they stand.
func (r *roff) code(lines ...string) {
	r.macro("PP")
	r.macro("RS", "4")
	r.macro("EX")
	for _, line := range lines {
		r.line(escape(line))
	}
	r.macro("EE")
	r.macro("RE")
}

// item writes a term in bold and what it means.
func (r *roff) item(term, meaning string) {
	r.macro("TP")
	r.line(`\fB` + escape(term) + `\fR`)
	r.text(meaning)
}

func (r *roff) String() string { return r.b.String() }

// escape has text mean itself, and a dash be one that can be copied into a shell.
func escape(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\\':
			b.WriteString(`\e`)
		case c == '-':
			b.WriteString(`\-`)
		case c == '\'':
			b.WriteString(`\(aq`)
		case c == '^':
			b.WriteString(`\(ha`)
		case c == '~':
			b.WriteString(`\(ti`)
		case c > 126:
			fmt.Fprintf(&b, `\[u%04X]`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// quoteCode sets what stands in back quotes in bold.
func quoteCode(s string) string {
	parts := strings.Split(s, "`")
	if len(parts)%2 == 0 {
		return strings.ReplaceAll(s, "`", `\(ga`)
	}
	for i := 1; i < len(parts); i += 2 {
		parts[i] = `\fB` + parts[i] + `\fR`
	}
	return strings.Join(parts, "")
}
