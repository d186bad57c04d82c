package process

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

func TestConverted(t *testing.T) {
	inner := &pluginv1.Schema{Attributes: []*pluginv1.Attribute{
		{Name: "on", Type: pluginv1.Attribute_TYPE_BOOL}, {Name: "text", Type: pluginv1.Attribute_TYPE_STRING},
	}}
	schema := &pluginv1.Schema{
		Attributes: []*pluginv1.Attribute{
			{Name: "port", Type: pluginv1.Attribute_TYPE_INTEGER}, {Name: "share", Type: pluginv1.Attribute_TYPE_NUMBER}, {Name: "name", Type: pluginv1.Attribute_TYPE_STRING},
		},
		Blocks: []*pluginv1.Block{{Name: "tls", Schema: inner}},
	}
	arguments := map[string]any{"port": "5555", "share": "0.5", "name": "17", "tls": map[string]any{"on": "true", "text": "false"}}
	got := converted(schema, arguments)
	want := map[string]any{"port": int64(5555), "share": 0.5, "name": "17", "tls": map[string]any{"on": true, "text": "false"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if problems := plugin.Check(schema, got); len(problems) != 0 {
		t.Error(problems)
	}
	if arguments["port"] != "5555" {
		t.Error("the configuration itself was changed")
	}
	left := map[string]any{"port": "55a", "share": "much", "tls": map[string]any{"on": "yes"}, "unknown": "1"}
	if diff := cmp.Diff(left, converted(schema, left)); diff != "" {
		t.Error(diff)
	}
	if problems := plugin.Check(schema, converted(schema, left)); len(problems) != 4 {
		t.Error(problems)
	}
}
