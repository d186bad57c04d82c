package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// value is what was written for a key, and where. One that failed was written
// but isn't valid: it must not be reported as missing as well.
type value[T any] struct {
	v      T
	at     hcl.Range
	set    bool
	failed bool
}

// absent says that nothing was written at all.
func (v value[T]) absent() bool { return !v.set && !v.failed }

// or is the value, or what holds when nothing was written.
func (v value[T]) or(otherwise T) T {
	if v.set {
		return v.v
	}
	return otherwise
}

// block is what a block may hold: its keys and the blocks inside it.
type block struct {
	name   string // how messages call it; empty for the top of a file
	keys   []key
	blocks []inner
}

// key is an argument of a block.
type key struct {
	name string
	set  func(*decoder, *hcl.Attribute)
	documented
}

// inner is a type of block within a block.
type inner struct {
	name   string
	labels []string // what the labels are, for messages
	decode func(*decoder, *hcl.Block)
	doc    string
	// variants are labels that change what the block holds; none: its own names stand for all.
	variants []variant
}

// decoder decodes bodies against blocks. Files are decoded one after the other
// into the same values, so that later files win.
type decoder struct {
	*report
	eval *hcl.EvalContext
	at   map[string]hcl.Range // of every key that was written, by what messages call it
	// outline collects what blocks may hold, instead of decoding them.
	outline *outline
}

// body decodes a body and reports whatever the block doesn't know.
func (d *decoder) body(body hcl.Body, b block) {
	if d.outline != nil {
		d.outline.walk(d, b)
		return
	}
	schema := &hcl.BodySchema{}
	for _, k := range b.keys {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: k.name})
	}
	for _, i := range b.blocks {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: i.name, LabelNames: i.labels})
	}
	content, rest, diags := body.PartialContent(schema)
	d.hcl(diags)
	d.unknown(rest, b)
	for _, k := range b.keys {
		if a, ok := content.Attributes[k.name]; ok {
			d.at[k.name+inside(b.name)] = a.Range
			k.set(d, a)
		}
	}
	seen := map[string]hcl.Range{}
	for _, found := range content.Blocks {
		if d.repeated(seen, found) {
			continue
		}
		i := slices.IndexFunc(b.blocks, func(i inner) bool { return i.name == found.Type })
		b.blocks[i].decode(d, found)
	}
}

// repeated reports a block that stands twice in one body. Over several files
// the same block is merged; within one file it is a slip.
func (d *decoder) repeated(seen map[string]hcl.Range, b *hcl.Block) bool {
	title := blockTitle(b)
	first, ok := seen[title]
	if ok {
		d.errorf(b.DefRange, "keep one of them", "%s is written twice in one file, first in line %d", title, first.Start.Line)
		return true
	}
	seen[title] = b.DefRange
	return false
}

// blockTitle is a block's type and labels as they are written.
func blockTitle(b *hcl.Block) string {
	title := b.Type
	for _, l := range b.Labels {
		title += fmt.Sprintf(" %q", l)
	}
	return title
}

// unknown reports what is left of a body once the known has been taken.
func (d *decoder) unknown(rest hcl.Body, b block) {
	var keys, blocks []string
	for _, k := range b.keys {
		keys = append(keys, k.name)
	}
	for _, i := range b.blocks {
		blocks = append(blocks, i.name)
	}
	native, ok := rest.(*hclsyntax.Body)
	if !ok {
		attributes, diags := rest.JustAttributes()
		d.hcl(diags)
		for name, a := range attributes {
			d.errorf(a.NameRange, didYouMean(name, append(keys, blocks...)), "unknown key %q%s", name, inside(b.name))
		}
		return
	}
	for name, a := range native.Attributes {
		switch {
		case slices.Contains(keys, name):
		case slices.Contains(blocks, name):
			d.errorf(a.NameRange, fmt.Sprintf("write it without the equals sign: %s { … }", name), "%q is a block%s", name, inside(b.name))
		default:
			d.errorf(a.NameRange, didYouMean(name, append(keys, blocks...)), "unknown key %q%s", name, inside(b.name))
		}
	}
	for _, found := range native.Blocks {
		switch name := found.Type; {
		case slices.Contains(blocks, name):
		case slices.Contains(keys, name):
			d.errorf(found.TypeRange, fmt.Sprintf("write it with an equals sign: %s = …", name), "%q is a key and no block%s", name, inside(b.name))
		default:
			d.errorf(found.TypeRange, didYouMean(name, append(blocks, keys...)), "unknown block %q%s", name, inside(b.name))
		}
	}
}

func inside(name string) string {
	if name == "" {
		return ""
	}
	return " in " + name
}

// evaluate evaluates an expression. It says false after an error, which it
// reports; an unknown value comes from one that was reported before.
func (d *decoder) evaluate(e hcl.Expression) (cty.Value, bool) {
	if t, ok := e.(*hclsyntax.ScopeTraversalExpr); ok {
		d.errorf(t.Range(), fmt.Sprintf("put text in quotes: %q", t.Traversal.RootName()), "there are no variables, so %s means nothing", t.Traversal.RootName())
		return cty.NilVal, false
	}
	v, diags := e.Value(d.eval)
	if diags.HasErrors() {
		d.hcl(diags)
		return cty.NilVal, false
	}
	return v, v.IsWhollyKnown()
}

// one is a key with a single value.
func one[T any](name string, into *value[T], k kind[T], doc string) key {
	return key{name: name, documented: documented{doc: doc, form: k.form}, set: func(d *decoder, a *hcl.Attribute) {
		if v := read(d, a.Expr, k); !v.absent() {
			*into = v
		}
	}}
}

// read is an expression's value; null counts as not written.
func read[T any](d *decoder, e hcl.Expression, k kind[T]) value[T] {
	v, ok := d.evaluate(e)
	if !ok {
		return value[T]{failed: true, at: e.Range()}
	}
	if v.IsNull() {
		return value[T]{}
	}
	got, p := k.take(v)
	if p != nil {
		d.add(e.Range(), p)
		return value[T]{failed: true, at: e.Range()}
	}
	return value[T]{v: got, at: e.Range(), set: true}
}

// list is a key with a list of values, each with its own place where the list
// is written out.
func list[T any](name string, into *value[[]value[T]], k kind[T], doc string) key {
	return key{name: name, documented: documented{doc: doc, form: listForm(k.form)}, set: func(d *decoder, a *hcl.Attribute) {
		elements, diags := hcl.ExprList(a.Expr)
		if diags.HasErrors() {
			if got := computedList(d, name, a.Expr, k); !got.absent() {
				*into = got
			}
			return
		}
		got := value[[]value[T]]{at: a.Expr.Range(), set: true}
		for _, e := range elements {
			element := read(d, e, k)
			if element.set {
				got.v = append(got.v, element)
			}
			got.failed = got.failed || element.failed
		}
		*into = got
	}}
}

// computedList is a list that an expression makes, as a for expression does.
func computedList[T any](d *decoder, name string, e hcl.Expression, k kind[T]) value[[]value[T]] {
	got := value[[]value[T]]{at: e.Range()}
	v, ok := d.evaluate(e)
	if ok && v.IsNull() {
		return got
	}
	if !ok {
		got.failed = true
		return got
	}
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		d.errorf(e.Range(), fmt.Sprintf("write %s = [ … ]", name), "a list is needed here, not %s", described(v))
		got.failed = true
		return got
	}
	got.set = true
	for _, element := range v.AsValueSlice() {
		x, p := k.take(element)
		if p != nil {
			d.add(e.Range(), p)
			got.failed = true
			continue
		}
		got.v = append(got.v, value[T]{v: x, at: e.Range(), set: true})
	}
	return got
}

// values is the elements without their places.
func values[T any](list []value[T]) []T {
	var out []T
	for _, e := range list {
		out = append(out, e.v)
	}
	return out
}

// table is a key with an object of strings, such as labels.
func table(name string, into *value[map[string]string], keys, vals kind[string], doc string) key {
	f := form{"object of text: `{ name = \"value\" }`", [2]string{`{ region = "eu" }`, `{ region = "us" }`}}
	return key{name: name, documented: documented{doc: doc, form: f}, set: func(d *decoder, a *hcl.Attribute) {
		v, ok := d.evaluate(a.Expr)
		if !ok || v.IsNull() {
			return
		}
		if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
			d.errorf(a.Expr.Range(), fmt.Sprintf("write %s = { name = \"value\" }", name), "an object is needed here, not %s", described(v))
			return
		}
		got := map[string]string{}
		elements := v.AsValueMap()
		for _, name := range slices.Sorted(maps.Keys(elements)) {
			_, p := keys.take(cty.StringVal(name))
			if p != nil {
				d.add(a.Expr.Range(), p)
				continue
			}
			s, p := vals.take(elements[name])
			if p != nil {
				d.add(a.Expr.Range(), p)
				continue
			}
			got[name] = s
		}
		*into = value[map[string]string]{v: got, at: a.Expr.Range(), set: true}
	}}
}
