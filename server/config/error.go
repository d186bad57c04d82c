package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Diagnostic is one problem in one place.
type Diagnostic struct {
	File       string `json:"file,omitempty"`
	Line       int    `json:"line,omitempty"`   // from 1; 0: the file as a whole
	Column     int    `json:"column,omitempty"` // from 1, in characters
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"` // what to do; may be empty
}

// String is the problem in one line: file:line:column: message; suggestion.
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(d.File)
		if d.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(d.Message)
	if d.Suggestion != "" {
		b.WriteString("; ")
		b.WriteString(d.Suggestion)
	}
	return b.String()
}

// Error is every problem that was found, in the order of the files.
type Error struct {
	Diagnostics []Diagnostic
}

// Error is a line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Diagnostics))
	for i, d := range e.Diagnostics {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// problem is what is wrong with a value, wherever it stands.
type problem struct {
	message    string
	suggestion string
}

// report collects problems, so that one run names all of them.
type report struct {
	diagnostics []Diagnostic
}

func (r *report) add(at hcl.Range, p *problem) {
	r.diagnostics = append(r.diagnostics, Diagnostic{
		File: at.Filename, Line: at.Start.Line, Column: at.Start.Column,
		Message: p.message, Suggestion: p.suggestion,
	})
}

func (r *report) errorf(at hcl.Range, suggestion, format string, args ...any) {
	r.add(at, &problem{message: fmt.Sprintf(format, args...), suggestion: suggestion})
}

// hcl takes the diagnostics of the HCL library over.
func (r *report) hcl(diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		var at hcl.Range
		if d.Subject != nil {
			at = *d.Subject
		}
		text := strings.Join(strings.Fields(d.Summary+": "+d.Detail), " ")
		r.errorf(at, "", "%s", strings.TrimRight(text, ": ."))
	}
}

// err is the problems in the order of the files, nil without any.
func (r *report) err(order []string) error {
	if len(r.diagnostics) == 0 {
		return nil
	}
	rank := make(map[string]int, len(order))
	for i, name := range order {
		rank[name] = i
	}
	slices.SortStableFunc(r.diagnostics, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(rank[a.File], rank[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	return &Error{Diagnostics: slices.Compact(r.diagnostics)}
}
