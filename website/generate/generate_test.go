package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/unisondb/unisondb/command"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/reference"
)

const root = "../.."

// once generates the pages for all tests that look at them.
var once = sync.OnceValues(func() (map[string][]byte, error) { return generate(root) })

func pages(t *testing.T) map[string][]byte {
	t.Helper()
	p, err := once()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPagesAreFresh: the committed pages are those that the code makes.
func TestPagesAreFresh(t *testing.T) {
	made := pages(t)
	for _, name := range names {
		path := filepath.Join(root, folder, name+".md")
		committed, err := os.ReadFile(path)
		switch {
		case err != nil:
			t.Errorf("%v: run make reference", err)
		case !bytes.Equal(committed, made[name]):
			t.Errorf("%s/%s.md is not what the code makes, for example %s: run make reference", folder, name, firstDifference(committed, made[name]))
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".md"); name != "index" && !slices.Contains(names, name) {
			t.Errorf("%s/%s isn't generated: pages by hand have other folders", folder, e.Name())
		}
	}
}

// firstDifference is the first line that differs, for the message.
func firstDifference(committed, made []byte) string {
	a, b := strings.Split(string(committed), "\n"), strings.Split(string(made), "\n")
	for i := range b {
		if i >= len(a) || a[i] != b[i] {
			return "line " + b[i]
		}
	}
	return "lines behind the end"
}

// TestGeneratingIsDeterministic: two runs make the same bytes.
func TestGeneratingIsDeterministic(t *testing.T) {
	a := pages(t)
	b, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s differs: %s", name, firstDifference(a[name], b[name]))
		}
	}
}

// Anchors, and links to those of the reference.
var (
	anchorID   = regexp.MustCompile(`<a id="([^"]+)">|\{#([^}]+)\}`)
	anchorLink = regexp.MustCompile(`\]\((?:/reference/(\w+)\.md)?#([^)]+)\)`)
)

// TestAnchors: each stands once on its page, and links within the reference lead to one.
func TestAnchors(t *testing.T) {
	made := pages(t)
	anchors := map[string]map[string]bool{}
	for _, name := range names {
		anchors[name] = map[string]bool{}
		for _, m := range anchorID.FindAllSubmatch(made[name], -1) {
			id := string(m[1]) + string(m[2])
			if anchors[name][id] {
				t.Errorf("%s has the anchor %q twice", name, id)
			}
			anchors[name][id] = true
		}
	}
	links := 0
	for _, name := range names {
		for _, m := range anchorLink.FindAllSubmatch(made[name], -1) {
			links++
			page := string(m[1])
			if page == "" {
				page = name
			}
			if !anchors[page][string(m[2])] {
				t.Errorf("%s links to %s.md#%s, and there is no such anchor", name, page, m[2])
			}
		}
	}
	if links < 200 {
		t.Errorf("only %d links were found: the test looks for them in the wrong way", links)
	}
}

// TestEverythingHasItsAnchor: what other pages link to by name is there.
func TestEverythingHasItsAnchor(t *testing.T) {
	made := pages(t)
	has := func(page, id string) {
		if !bytes.Contains(made[page], []byte(`<a id="`+id+`">`)) && !bytes.Contains(made[page], []byte(`{#`+id+`}`)) {
			t.Errorf("%s lacks the anchor %s", page, id)
		}
	}
	all, err := reference.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		for _, k := range b.Keys {
			has("configuration", identifier(k.Path))
		}
	}
	for _, c := range reference.Codes() {
		has("errors", strings.ToLower(c.Code))
	}
	for _, r := range reference.Routes() {
		has("http", route{r}.Anchor())
	}
	for _, m := range reference.Metrics() {
		has("metrics", m.Name)
	}
	for _, c := range command.Reference() {
		has("commands", identifier(c.Name))
	}
}

// TestArgumentsOfPlugins: what `config validate` knows of a plugin's arguments is what its schema has.
func TestArgumentsOfPlugins(t *testing.T) {
	all, err := plugins(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Kind != "notifier" {
			continue
		}
		var schema []string
		for _, a := range p.Arguments {
			if a.What == "." || a.What == "" {
				t.Errorf("argument %s of %s has no description: add a doc tag", a.Path, p.Name)
			}
			if a.Type != "block" {
				schema = append(schema, a.Path)
			}
		}
		slices.Sort(schema)
		if known := config.Arguments(p.Name); !slices.Equal(known, schema) {
			t.Errorf("%s takes %v, and server/config/notifier.go knows %v", p.Name, schema, known)
		}
	}
}

// TestProtosAreWhole holds what was read of the files against what was compiled of them.
func TestProtosAreWhole(t *testing.T) {
	read, err := protos(root)
	if err != nil {
		t.Fatal(err)
	}
	compiled := []protoreflect.FileDescriptor{dbv1.File_db_v1_replication_proto, dbv1.File_db_v1_control_proto, pluginv1.File_plugin_v1_plugin_proto}
	for i, f := range compiled {
		if want, got := described(f), parsed(read[i]); !slices.Equal(want, got) {
			t.Errorf("%s: compiled\n%s\nread\n%s", read[i].Path, strings.Join(want, "\n"), strings.Join(got, "\n"))
		}
		for _, s := range read[i].Services {
			for _, m := range s.Methods {
				if s.Doc == "" || m.Doc == "" {
					t.Errorf("%s.%s has no comment in %s", s.Name, m.Name, read[i].Path)
				}
			}
		}
	}
}

// described is a compiled file as sorted lines.
func described(f protoreflect.FileDescriptor) []string {
	var lines []string
	for i := range f.Services().Len() {
		s := f.Services().Get(i)
		for j := range s.Methods().Len() {
			lines = append(lines, string(s.Name())+"."+string(s.Methods().Get(j).Name()))
		}
	}
	var walk func(ms protoreflect.MessageDescriptors, es protoreflect.EnumDescriptors, prefix string)
	walk = func(ms protoreflect.MessageDescriptors, es protoreflect.EnumDescriptors, prefix string) {
		for i := range ms.Len() {
			m := ms.Get(i)
			if m.IsMapEntry() {
				continue
			}
			lines = append(lines, prefix+string(m.Name()))
			for j := range m.Fields().Len() {
				lines = append(lines, prefix+string(m.Name())+"."+string(m.Fields().Get(j).Name()))
			}
			walk(m.Messages(), m.Enums(), prefix+string(m.Name())+".")
		}
		for i := range es.Len() {
			e := es.Get(i)
			lines = append(lines, prefix+string(e.Name()))
			for j := range e.Values().Len() {
				lines = append(lines, prefix+string(e.Name())+"."+string(e.Values().Get(j).Name()))
			}
		}
	}
	walk(f.Messages(), f.Enums(), "")
	slices.Sort(lines)
	return lines
}

// parsed is a file that was read as sorted lines.
func parsed(f protoFile) []string {
	var lines []string
	for _, s := range f.Services {
		for _, m := range s.Methods {
			lines = append(lines, s.Name+"."+m.Name)
		}
	}
	for _, m := range f.Messages {
		lines = append(lines, m.Name)
		for _, field := range m.Fields {
			lines = append(lines, m.Name+"."+field.Name)
		}
	}
	slices.Sort(lines)
	return lines
}
