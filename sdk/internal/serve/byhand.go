package serve

import (
	"fmt"
	"strings"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// byHand is what a plugin says that somebody started in a shell: what it is, and
// how it is meant to be started.
func byHand(d *pluginv1.DescribeResponse) string {
	var b strings.Builder
	program, block := "notifier-"+d.GetName(), fmt.Sprintf("notifier %q %q", d.GetName(), "my-"+d.GetName())
	if d.GetKind() == pluginv1.Kind_KIND_DATA_MODEL {
		program, block = "model-"+d.GetName(), fmt.Sprintf("model %q", d.GetName())
	}
	fmt.Fprintf(&b, "%s %s", program, d.GetVersion())
	if d.GetDescription() != "" {
		fmt.Fprintf(&b, ": %s", d.GetDescription())
	}
	fmt.Fprintf(&b, "\n\nThis program is a plugin of UnisonDB: it isn't started by hand, but by a node.\n"+
		"Copy it to the node's plugin_dir as %q and write into the node's configuration:\n\n", program)
	fmt.Fprintf(&b, "%s {\n  namespaces = [\"default\"]\n", block)
	if len(d.GetConfig().GetAttributes())+len(d.GetConfig().GetBlocks()) > 0 {
		b.WriteString("  config {\n")
		schemaByHand(&b, d.GetConfig(), "    ")
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// schemaByHand writes a schema as a configuration that could be filled in.
func schemaByHand(b *strings.Builder, s *pluginv1.Schema, indent string) {
	for _, a := range s.GetAttributes() {
		fmt.Fprintf(b, "%s%s = %s", indent, a.GetName(), valueByHand(a))
		comment := a.GetDescription()
		if a.GetRequired() {
			comment = strings.TrimPrefix(comment+"; required", "; ")
		}
		if comment != "" {
			fmt.Fprintf(b, " # %s", comment)
		}
		b.WriteString("\n")
	}
	for _, inner := range s.GetBlocks() {
		fmt.Fprintf(b, "%s%s {", indent, inner.GetName())
		if inner.GetDescription() != "" {
			fmt.Fprintf(b, " # %s", inner.GetDescription())
		}
		b.WriteString("\n")
		schemaByHand(b, inner.GetSchema(), indent+"  ")
		fmt.Fprintf(b, "%s}\n", indent)
	}
}

func valueByHand(a *pluginv1.Attribute) string {
	switch a.GetType() {
	case pluginv1.Attribute_TYPE_INTEGER, pluginv1.Attribute_TYPE_NUMBER:
		if a.GetDefaultValue() == "" {
			return "0"
		}
		return a.GetDefaultValue()
	case pluginv1.Attribute_TYPE_BOOL:
		if a.GetDefaultValue() == "" {
			return "false"
		}
		return a.GetDefaultValue()
	case pluginv1.Attribute_TYPE_STRING_LIST:
		return "[]"
	case pluginv1.Attribute_TYPE_STRING_MAP:
		return "{}"
	default:
		return fmt.Sprintf("%q", a.GetDefaultValue())
	}
}
