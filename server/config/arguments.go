package config

import (
	"maps"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// arguments are what a plugin is given, and where each of them stands. Those of a
// block inside share the places of the whole.
type arguments struct {
	values map[string]any
	places map[string]hcl.Range // by path, blocks first: "tls.cert_file"
	path   string               // of this block; empty: the whole
}

// newArguments begins those of the plugin whose block stands there.
func newArguments(at hcl.Range) *arguments {
	return &arguments{values: map[string]any{}, places: map[string]hcl.Range{"": at}}
}

// below are the arguments of a block inside.
func (a *arguments) below(name string, at hcl.Range) *arguments {
	values, ok := a.values[name].(map[string]any)
	if !ok {
		values = map[string]any{}
		a.values[name] = values
	}
	inner := &arguments{values: values, places: a.places, path: a.pathOf(name)}
	a.places[inner.path] = at
	return inner
}

func (a *arguments) pathOf(name string) string {
	if a.path == "" {
		return name
	}
	return a.path + "." + name
}

// set takes a value from a file that may be later than the one before.
func (a *arguments) set(name string, v any, at hcl.Range) {
	overlay(a.values, map[string]any{name: v})
	a.places[a.pathOf(name)] = at
}

// placeOf is where an argument of the whole stands, or else the whole.
func (a *arguments) placeOf(name string) hcl.Range {
	if at, ok := a.places[name]; ok {
		return at
	}
	return a.places[""]
}

// where is the places as text.
func (a *arguments) where() Places {
	p := make(Places, len(a.places))
	for path, at := range a.places {
		if at.Filename != "" {
			p[path] = place(at)
		}
	}
	return p
}

// into is an argument that is checked here and handed on as the kind has it, but
// for durations and sizes, which stay text. One that failed is there without a value.
func into[T any](a *arguments, name string, k kind[T]) key {
	return key{name: name, documented: documented{argument: true, form: k.form}, set: func(d *decoder, attribute *hcl.Attribute) {
		v, ok := d.evaluate(attribute.Expr)
		if ok && v.IsNull() {
			return
		}
		a.set(name, nil, attribute.Range)
		if !ok {
			return
		}
		got, p := k.take(v)
		if p != nil {
			d.add(attribute.Expr.Range(), p)
			return
		}
		switch got := any(got).(type) {
		case int:
			a.set(name, int64(got), attribute.Range)
		case bool, string, []any, map[string]any:
			a.set(name, got, attribute.Range)
		default:
			a.set(name, plain(v), attribute.Range)
		}
	}}
}

// free decodes a body that only the plugin understands.
func (a *arguments) free(d *decoder, body hcl.Body) {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		attributes, diags := body.JustAttributes()
		d.hcl(diags)
		for name, attribute := range attributes {
			if v, ok := d.evaluate(attribute.Expr); ok {
				a.set(name, plain(v), attribute.Range)
			}
		}
		return
	}
	for name, attribute := range native.Attributes {
		if v, ok := d.evaluate(attribute.Expr); ok {
			a.set(name, plain(v), attribute.SrcRange)
		}
	}
	for _, b := range native.Blocks {
		inner := a.below(b.Type, b.DefRange())
		for _, label := range b.Labels {
			inner = inner.below(label, b.DefRange())
		}
		inner.free(d, b.Body)
	}
}

// overlay puts later values over earlier ones, objects key by key.
func overlay(m, later map[string]any) {
	for name, v := range later {
		into, isMap := m[name].(map[string]any)
		from, both := v.(map[string]any)
		if isMap && both {
			merged := maps.Clone(into)
			overlay(merged, from)
			m[name] = merged
			continue
		}
		m[name] = v
	}
}
