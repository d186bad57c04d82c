package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// documented is what the reference says of a key.
type documented struct {
	doc  string
	form form
	// otherwiseText is the default in words, where it follows something else.
	otherwiseText string
	isRequired    bool
	// with is what has to stand beside the key for it to be valid, as it is written.
	with string
	// argument says that the key is a plugin's own, which its schema describes.
	argument bool
}

// otherwise says in words what holds where the key isn't written.
func (k key) otherwise(words string) key {
	k.otherwiseText = words
	return k
}

func (k key) required() key { return k.requiredIf(true) }

func (k key) requiredIf(required bool) key {
	k.isRequired = required
	return k
}

// beside says what else the key needs in its block.
func (k key) beside(written string) key {
	k.with = written
	return k
}

// like are two values that the key takes, where its kind takes more than that.
func (k key) like(a, b string) key {
	k.form.samples = [2]string{a, b}
	return k
}

// listForm is the form of a list of what f is the form of.
func listForm(f form) form {
	plural := f.text
	switch {
	case strings.Contains(plural, "`"):
	case strings.Contains(plural, " of "):
		plural = strings.Replace(plural, " of ", "s of ", 1)
	default:
		plural = strings.Replace(plural, " or ", "s or ", 1) + "s"
	}
	return form{"list of " + plural, [2]string{"[" + f.samples[0] + "]", "[" + f.samples[1] + "]"}}
}

// variant is a block's labels that change what it may hold, and what such a block can't be without.
type variant struct {
	labels []string
	with   string
}

// notifierVariants are the types of notifiers whose arguments are known here, with the labels behind it.
func notifierVariants(labels ...string) []variant {
	var all []variant
	for _, v := range []variant{
		{[]string{notifierZeroMQ}, "bind_port = 5555"},
		{[]string{notifierMQTT}, "config {\n broker = \"mqtt://127.0.0.1:1883\"\n}"},
		{[]string{notifierWebhook}, "config {\n url = \"http://127.0.0.1:8080/\"\n}"},
		{[]string{"other"}, ""},
	} {
		all = append(all, variant{append(v.labels, labels...), v.with})
	}
	return all
}

// outlined is a block as the decoder came to it: with one choice of labels.
type outlined struct {
	path   []step
	block  block
	parent *outlined
}

// step is a block on the way to a key.
type step struct {
	inner
	variant
}

// header is how the block begins in a file.
func (s step) header() string {
	h := s.name
	for _, l := range s.variant.labels {
		h += ` "` + l + `"`
	}
	return h
}

// outline collects blocks by walking through what decodes them, so that it can't miss a key
// that a file may hold.
type outline struct {
	found []*outlined
	at    []step
	above *outlined
}

// outlineOf is every block that a file may hold, its top first.
func outlineOf() []*outlined {
	o := &outline{}
	d := &decoder{report: &report{}, outline: o}
	d.body(hcl.EmptyBody(), (&written{}).file())
	return o.found
}

// walk notes a block and goes through those inside it.
func (o *outline) walk(d *decoder, b block) {
	here := &outlined{path: slices.Clone(o.at), block: b, parent: o.above}
	o.found = append(o.found, here)
	outer := o.above
	o.above = here
	for _, i := range b.blocks {
		variants := i.variants
		if len(variants) == 0 {
			variants = []variant{{labels: samplesOf(i.labels)}}
		}
		for _, v := range variants {
			o.at = append(o.at, step{i, v})
			before := len(o.found)
			i.decode(d, &hcl.Block{Type: i.name, Labels: v.labels, LabelRanges: make([]hcl.Range, len(v.labels)), Body: hcl.EmptyBody()})
			if len(o.found) == before { // only a plugin knows what it holds
				o.found = append(o.found, &outlined{path: slices.Clone(o.at), parent: here})
			}
			o.at = o.at[:len(o.at)-1]
		}
	}
	o.above = outer
}

// samplesOf are labels that blocks take: what they are called.
func samplesOf(labels []string) []string {
	var all []string
	for _, l := range labels {
		all = append(all, "a-"+l)
	}
	return all
}

// pathOf is the names of the blocks, without labels.
func pathOf(steps []step) string {
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
	}
	return strings.Join(names, ".")
}

// file writes a configuration that has the block with the lines in it, and beside them only what can't be
// left out. without is a key of the block that is left out nevertheless.
func (o *outlined) file(without string, lines ...string) string {
	var b strings.Builder
	if o.parent == nil {
		b.WriteString(o.needs(without, lines))
	} else {
		b.WriteString(`data_dir = "/data"` + "\n")
	}
	o.write(&b, 0, without, lines)
	return b.String()
}

// write writes the blocks from the depth on.
func (o *outlined) write(b *strings.Builder, depth int, without string, lines []string) {
	if depth == len(o.path) {
		return
	}
	s := o.path[depth]
	b.WriteString(s.header() + " {\n")
	at := o
	for len(at.path) > depth+1 {
		at = at.parent
	}
	last := at == o
	if last {
		b.WriteString(at.needs(without, lines))
	} else {
		b.WriteString(at.needs("", nil))
	}
	if with := s.with; with != "" && (last || !strings.HasPrefix(with, o.path[depth+1].name+" ")) {
		b.WriteString(with + "\n")
	}
	o.write(b, depth+1, without, lines)
	if s.name == "relayer" && (last || o.path[depth+1].name != "upstream") {
		b.WriteString("upstream \"hub\" {\naddresses = [\"hub-a:4001\"]\n}\n")
	}
	b.WriteString("}\n")
}

// needs are the lines, and the keys that the block can't be without.
func (o *outlined) needs(without string, lines []string) string {
	var b strings.Builder
	for _, k := range o.block.keys {
		written := func(l string) bool { return strings.HasPrefix(l, k.name+" ") }
		if k.isRequired && k.name != without && !slices.ContainsFunc(lines, written) {
			b.WriteString(k.name + " = " + k.form.samples[0] + "\n")
		}
	}
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	return b.String()
}
