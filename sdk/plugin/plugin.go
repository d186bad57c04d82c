// Package plugin is what all kinds of plugins of UnisonDB share: who they are,
// what configuration they take, and how node and plugin find each other. A plugin
// is a program of its own; its author takes package notifier or datamodel, which
// build on this one.
package plugin

import (
	"fmt"
	"strings"
)

// Info is what a plugin says about itself.
type Info struct {
	// Name is the plugin's type, as in the program's name behind "notifier-" or "model-".
	Name string
	// Version is the program's, as in "1.4.2".
	Version     string
	Description string
}

// Problem is something wrong with the configuration, which the node reports
// with file and line.
type Problem struct {
	Path    string // of the argument, blocks first: "tls.cert_file"; empty: the whole
	Message string // what is wrong, and what to do
}

// Problems is an error that lists all that is wrong with a configuration.
type Problems []Problem

// Error implements error.
func (p Problems) Error() string {
	var b strings.Builder
	for i, problem := range p {
		if i > 0 {
			b.WriteString("; ")
		}
		if problem.Path != "" {
			fmt.Fprintf(&b, "%s: ", problem.Path)
		}
		b.WriteString(problem.Message)
	}
	return b.String()
}
