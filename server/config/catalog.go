package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Kinds of entries of the control plane's catalog of plugins.
const (
	CatalogNotifier = "notifier"
	CatalogModel    = "model"
)

// CatalogEntry is a plugin as the control plane's catalog has it: a block that stands in no file.
// Arguments holds what a block has besides its labels, by the names that HCL has for it, config
// included. Strings are taken as they are: env() and file() are for a node's own files.
type CatalogEntry struct {
	Kind      string // CatalogNotifier or CatalogModel
	Type      string // of a notifier
	Name      string
	Arguments map[string]any
}

// Resolve turns an entry into what a block of a hub's file becomes, with the same defaults and checks.
// One of the two answers is not nil where the error is nil.
func (e CatalogEntry) Resolve() (*Notifier, *Model, error) {
	labelled := map[string]any{e.Name: literal(e.Arguments)}
	switch {
	case e.Kind == CatalogNotifier && e.Type != "":
		labelled = map[string]any{e.Type: labelled}
	case e.Kind != CatalogModel:
		return nil, nil, fmt.Errorf("plugin %q of the catalog is of kind %q and type %q: use a notifier with a type, or a model", e.Name, e.Kind, e.Type)
	}
	text, err := json.Marshal(map[string]any{e.Kind: labelled})
	if err != nil {
		return nil, nil, fmt.Errorf("plugin %q of the catalog: %w", e.Name, err)
	}
	nothing := func(string) (string, bool) { return "", false }
	c, err := load([]source{{name: "catalog.json", text: text}}, &report{}, LoadOptions{Dev: true},
		evalContext(nothing, func(string) ([]byte, error) { return nil, errors.New("a catalog has no files") }),
		defaults{hostName: "catalog", memoryLimit: minMemory})
	if err != nil {
		return nil, nil, fmt.Errorf("plugin %q of the catalog: %w", e.Name, err)
	}
	if len(c.Models) == 1 {
		return nil, &c.Models[0], nil
	}
	return &c.Notifiers[0], nil, nil
}

// literal makes strings mean themselves where HCL's JSON form would take them for templates.
func literal(v any) any {
	switch v := v.(type) {
	case string:
		return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, e := range v {
			out[key] = literal(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = literal(e)
		}
		return out
	}
	return v
}
