package main

import "strings"

// fileAnchor is a file's name, without the placeholders of its path.
func fileAnchor(path string) string {
	path, _, _ = strings.Cut(path, " …")
	path, _, _ = strings.Cut(path, ",")
	path = strings.TrimSuffix(path, "/")
	name := path[strings.LastIndex(path, "/")+1:]
	return identifier(strings.Trim(name, "<>."))
}

// magic is a magic number as a string of one line.
func magic(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }
