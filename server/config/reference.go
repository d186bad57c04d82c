package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KeyDoc is a key of the configuration, as the reference shows it.
type KeyDoc struct {
	Path     string   // storage.retention.max_age
	Type     string   // as a user would say it
	Default  string   // in Markdown; empty: none
	Required bool     //
	Reload   bool     // can change while the node runs
	Built    bool     // at least one value has an effect in this version
	Partly   bool     // some values are for a later version
	Only     []string // headers of the blocks that have it, where others of the path don't
	Doc      string

	defaults []string // of each of Only
}

// BlockDoc is a block of the configuration, as the reference shows it.
type BlockDoc struct {
	Path   string // namespace.storage.retention; empty: the top of a file
	Header string // namespace "NAME"
	Doc    string
	Inner  []string // paths of the blocks inside
	Keys   []KeyDoc
}

// Reference is every block and key that a file may hold, as the decoder has them, with the defaults that
// the loader fills in. Arguments of plugins are in their own schemas.
func Reference() ([]BlockDoc, error) {
	var blocks []BlockDoc
	for _, o := range outlineOf() {
		path := pathOf(o.path)
		i := slices.IndexFunc(blocks, func(b BlockDoc) bool { return b.Path == path })
		if i < 0 {
			i = len(blocks)
			blocks = append(blocks, o.blockDoc(path))
		}
		for _, k := range o.block.keys {
			if k.argument {
				continue
			}
			doc, err := o.keyDoc(k)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", doc.Path, err)
			}
			blocks[i].merge(doc, o)
		}
		for _, inner := range o.block.blocks {
			if p := strings.TrimPrefix(path+"."+inner.name, "."); !ofPlugin(p) && !slices.Contains(blocks[i].Inner, p) {
				blocks[i].Inner = append(blocks[i].Inner, p)
			}
		}
	}
	variants := map[string]int{}
	for _, o := range outlineOf() {
		variants[pathOf(o.path)]++
	}
	for _, b := range blocks {
		for i, k := range b.Keys {
			b.Keys[i].Default = k.defaultByPlace()
			if len(k.Only) == variants[b.Path] {
				b.Keys[i].Only = nil
			}
		}
	}
	return slices.DeleteFunc(blocks, func(b BlockDoc) bool { return ofPlugin(b.Path) }), nil
}

// ofPlugin says that a block is one of a plugin's own, which its schema has.
func ofPlugin(path string) bool {
	return strings.Contains(path, "notifier.") && (strings.HasSuffix(path, ".curve") || strings.HasSuffix(path, ".config.tls"))
}

func (o *outlined) blockDoc(path string) BlockDoc {
	b := BlockDoc{Path: path}
	if len(o.path) > 0 {
		last := o.path[len(o.path)-1]
		b.Doc, b.Header = last.doc, last.name
		for _, l := range last.inner.labels {
			b.Header += fmt.Sprintf(" %q", strings.ToUpper(l))
		}
	}
	return b
}

// merge adds a key, or one more place of a key that is there.
func (b *BlockDoc) merge(k KeyDoc, o *outlined) {
	header := ""
	if len(o.path) > 0 {
		header = o.path[len(o.path)-1].header()
	}
	i := slices.IndexFunc(b.Keys, func(has KeyDoc) bool { return has.Path == k.Path })
	if i < 0 {
		k.Only, k.defaults = []string{header}, []string{k.Default}
		b.Keys = append(b.Keys, k)
		return
	}
	has := &b.Keys[i]
	has.Only, has.defaults = append(has.Only, header), append(has.defaults, k.Default)
	has.Built = has.Built || k.Built
}

// defaultByPlace is what holds otherwise, place by place where that differs.
func (k KeyDoc) defaultByPlace() string {
	if same := slices.Compact(slices.Clone(k.defaults)); len(same) == 1 {
		return same[0]
	}
	var all []string
	for i, d := range k.defaults {
		all = append(all, fmt.Sprintf("%s in `%s`", d, k.Only[i]))
	}
	return strings.Join(all, ", ")
}

// keyDoc says of a key what the loader makes of it.
func (o *outlined) keyDoc(k key) (KeyDoc, error) {
	d := KeyDoc{
		Path: strings.TrimPrefix(pathOf(o.path)+"."+k.name, "."), Type: k.form.text, Required: k.isRequired, Doc: k.doc, Default: k.otherwiseText,
	}
	c, err := o.load("")
	if err != nil {
		return d, err
	}
	title := k.name + inside(o.block.name)
	fixed, live := c.settings(), c.live()
	switch {
	case fixed.has(title) == live.has(title):
		return d, errors.New("it has to be either in Config.settings, which can't change while a node runs, or in Config.live, which can")
	case live.has(title):
		d.Reload = true
	}
	if d.Default == "" && fixed.derived[title] {
		d.Default = "as in `" + o.path[len(o.path)-1].name + "` of the node"
	}
	if value := fixed.values[title] + live.values[title]; d.Default == "" && !d.Required && !empty(value) {
		d.Default = "`" + value + "`"
	}
	for _, sample := range k.form.samples {
		c, err := o.load("", k.assigned(sample)...)
		if err != nil {
			return d, err
		}
		if len(c.NotBuilt()) == 0 {
			d.Built = true
		} else {
			d.Partly = true
		}
	}
	return d, nil
}

// empty says that a setting is nothing in particular.
func empty(value string) bool { return slices.Contains([]string{`""`, "[]", "{  }"}, value) }

// assigned is the key with a value, and what it needs beside it.
func (k key) assigned(value string) []string {
	lines := []string{k.name + " = " + value}
	if k.with != "" {
		lines = append(lines, k.with)
	}
	return lines
}

// load loads a configuration that has the block with the lines in it.
func (o *outlined) load(without string, lines ...string) (*Config, error) {
	role := RoleHub
	if len(o.path) > 0 && o.path[0].name == "relayer" {
		role = RoleRelayer
	}
	s := source{name: "reference.hcl", text: []byte(o.file(without, lines...))}
	none := func(string) (string, bool) { return "", false }
	return load([]source{s}, &report{}, LoadOptions{Role: role}, evalContext(none, nil), defaults{hostName: "host", memoryLimit: minMemory})
}

// live are the keys that can change while a node runs, with their values: those that settings leaves out.
func (c *Config) live() *settings {
	s := &settings{values: map[string]string{}, parent: map[string]string{}, derived: map[string]bool{}}
	s.text("level in log", c.Log.Level)
	for _, n := range c.Notifiers {
		title := fmt.Sprintf("notifier %q %q", n.Type, n.Name)
		if namespace, ok := strings.CutSuffix(n.Name, "/"+n.Type); ok {
			title = fmt.Sprintf("notifier %q of namespace %q", n.Type, namespace)
		} else {
			s.list("namespaces in "+title, n.Namespaces)
		}
		s.text("run_on in "+title, n.RunOn)
		s.time("max_delay in "+title, n.MaxDelay)
		s.flag("latest_per_key in "+title, n.LatestPerKey)
		s.text("start_from in "+title, n.StartFrom)
		s.text("restart_from in "+title, n.RestartFrom)
		s.number("max_refusals in "+title, n.MaxRefusals)
		s.number("max_batch in "+title, n.MaxBatch)
		s.program(title, n.Program)
		s.text("prefix in filter of "+title, n.Prefix)
		s.list("operations in filter of "+title, n.Operations)
		s.list("entry_types in filter of "+title, n.EntryTypes)
	}
	for _, m := range c.Models {
		title := fmt.Sprintf("model %q", m.Name)
		s.list("namespaces in "+title, m.Namespaces)
		s.program(title, m.Program)
	}
	return s
}

func (s *settings) program(title string, p Program) {
	s.add("sha256 in "+title, strconv.Quote(p.SHA256))
	s.text("version in "+title, p.Version)
	s.size("memory_limit in "+title, p.MemoryLimit)
}

// Arguments are the names of what a notifier of a type takes, blocks first ("tls.cert_file"), where this package
// knows it; nil: it doesn't.
func Arguments(kind string) []string {
	var names []string
	for _, o := range outlineOf() {
		if len(o.path) < 2 || o.path[0].name != "notifier" || o.path[0].variant.labels[0] != kind {
			continue
		}
		prefix := strings.TrimPrefix(strings.TrimPrefix(pathOf(o.path)+".", "notifier."), "config.")
		for _, k := range o.block.keys {
			if name := prefix + k.name; k.argument && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
