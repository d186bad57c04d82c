package main

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"text/template"
)

// names are the pages, each made of the template of its name.
var names = []string{"configuration", "commands", "http", "errors", "metrics", "grpc", "notifications", "files"}

//go:embed templates/*.tmpl
var templates embed.FS

// generate makes every page. root is where the repository is, of which it reads what isn't compiled in.
func generate(root string) (map[string][]byte, error) {
	data, err := collect(root)
	if err != nil {
		return nil, err
	}
	// Pages show {{…}} of MQTT's topics, and Vue's.
	all, err := template.New("").Delims("[[", "]]").Funcs(template.FuncMap{
		"text": text, "prose": prose, "cell": cell, "id": identifier, "code": code, "anchorOf": strings.ToLower, "fileAnchor": fileAnchor, "magic": magic,
	}).ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return nil, err
	}
	pages := map[string][]byte{}
	for _, name := range names {
		var b bytes.Buffer
		b.WriteString("---\n")
		if err := all.ExecuteTemplate(&b, name+".tmpl", data); err != nil {
			return nil, fmt.Errorf("page %s: %w", name, err)
		}
		pages[name] = tidy(b.Bytes())
	}
	return pages, nil
}
