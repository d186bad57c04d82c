package process

import (
	"maps"
	"strconv"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// converted is a configuration with text made a number or a truth value where the
// schema wants one, as HCL does for what it knows: env() gives text. What can't be is left
// for the check to complain of.
func converted(schema *pluginv1.Schema, arguments map[string]any) map[string]any {
	m := maps.Clone(arguments)
	for _, a := range schema.GetAttributes() {
		if text, ok := m[a.GetName()].(string); ok {
			m[a.GetName()] = convertedText(a.GetType(), text)
		}
	}
	for _, b := range schema.GetBlocks() {
		if inner, ok := m[b.GetName()].(map[string]any); ok {
			m[b.GetName()] = converted(b.GetSchema(), inner)
		}
	}
	return m
}

func convertedText(t pluginv1.Attribute_Type, text string) any {
	switch t {
	case pluginv1.Attribute_TYPE_INTEGER:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case pluginv1.Attribute_TYPE_NUMBER:
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	case pluginv1.Attribute_TYPE_BOOL:
		if text == "true" || text == "false" {
			return text == "true"
		}
	}
	return text
}
