package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// pluginDoc is a plugin that comes with the program.
type pluginDoc struct {
	Kind, Name string
	Program    string
	Arguments  []argument
}

// argument is what a plugin takes in its config block.
type argument struct {
	Path    string // tls.cert_file
	Type    string
	Default string
	What    string
}

// plugins reads the schemas that each plugin's test holds against its code.
func plugins(root string) ([]pluginDoc, error) {
	var all []pluginDoc
	for _, p := range []struct{ kind, name string }{{"notifier", "zeromq"}, {"notifier", "mqtt"}, {"notifier", "webhook"}, {"model", "vector"}} {
		text, err := os.ReadFile(filepath.Join(root, "plugins", p.kind, p.name, "schema.json"))
		if err != nil {
			return nil, err
		}
		var schema pluginv1.Schema
		if err := protojson.Unmarshal(text, &schema); err != nil {
			return nil, fmt.Errorf("schema of %s: %w", p.name, err)
		}
		all = append(all, pluginDoc{p.kind, p.name, p.kind + "-" + p.name, arguments(&schema, "")})
	}
	return all, nil
}

func arguments(s *pluginv1.Schema, prefix string) []argument {
	var all []argument
	for _, a := range s.GetAttributes() {
		all = append(all, argument{prefix + a.GetName(), argumentType(a), argumentDefault(a), sentence(a.GetDescription())})
	}
	for _, b := range s.GetBlocks() {
		all = append(all, argument{prefix + b.GetName(), "block", "none", sentence(b.GetDescription())})
		all = append(all, arguments(b.GetSchema(), prefix+b.GetName()+".")...)
	}
	return all
}

// sentence writes a schema's words as the other tables have theirs.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if first := s[:1]; first >= "a" && first <= "z" && !strings.HasPrefix(s, "json:") {
		s = strings.ToUpper(first) + s[1:]
	}
	return strings.TrimSuffix(s, ".") + "."
}

var typeNames = map[pluginv1.Attribute_Type]string{
	pluginv1.Attribute_TYPE_STRING: "text", pluginv1.Attribute_TYPE_INTEGER: "whole number", pluginv1.Attribute_TYPE_NUMBER: "number",
	pluginv1.Attribute_TYPE_BOOL: "`true` or `false`", pluginv1.Attribute_TYPE_DURATION: "duration", pluginv1.Attribute_TYPE_SIZE: "size",
	pluginv1.Attribute_TYPE_STRING_LIST: "list of text", pluginv1.Attribute_TYPE_STRING_MAP: "object of text",
}

func argumentType(a *pluginv1.Attribute) string {
	name := typeNames[a.GetType()]
	if words := a.GetOneOf(); len(words) > 0 {
		name = "`\"" + strings.Join(words, "\"` or `\"") + "\"`"
	}
	if a.Minimum != nil && a.Maximum != nil {
		name += ", " + bound(a, a.GetMinimum()) + " to " + bound(a, a.GetMaximum())
	}
	if a.GetSensitive() {
		name += "; secret"
	}
	return name
}

func bound(a *pluginv1.Attribute, v float64) string {
	if a.GetType() != pluginv1.Attribute_TYPE_DURATION {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	s := time.Duration(v * float64(time.Second)).String()
	if rest, ok := strings.CutSuffix(s, "m0s"); ok {
		s = rest + "m"
	}
	if rest, ok := strings.CutSuffix(s, "h0m"); ok {
		s = rest + "h"
	}
	return "`\"" + s + "\"`"
}

func argumentDefault(a *pluginv1.Attribute) string {
	v := a.GetDefaultValue()
	n, err := strconv.ParseFloat(v, 64)
	switch {
	case a.GetRequired():
		return "required"
	case v == "", err == nil && a.Minimum != nil && n < a.GetMinimum():
		return "none"
	case a.GetType() == pluginv1.Attribute_TYPE_INTEGER, a.GetType() == pluginv1.Attribute_TYPE_NUMBER, a.GetType() == pluginv1.Attribute_TYPE_BOOL:
		return "`" + v + "`"
	}
	return "`" + strconv.Quote(v) + "`"
}
