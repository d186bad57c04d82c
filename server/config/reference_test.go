package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestReferenceIsWhole: each key that the decoder takes has a description, a type and two values that it takes.
func TestReferenceIsWhole(t *testing.T) {
	blocks, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, b := range blocks {
		if b.Path != "" && !strings.HasSuffix(b.Doc, ".") {
			t.Errorf("block %s has no description in sentences: %q", b.Path, b.Doc)
		}
		for _, k := range b.Keys {
			keys++
			if !strings.HasSuffix(k.Doc, ".") {
				t.Errorf("%s has no description in sentences: %q", k.Path, k.Doc)
			}
			if k.Type == "" {
				t.Errorf("%s has no type: its kind has no form", k.Path)
			}
		}
	}
	if keys < 90 {
		t.Errorf("only %d keys", keys)
	}
}

// TestReferenceKnowsEveryKeyOfTheSample: the sample of all keys is decoded by what the reference walks through.
func TestReferenceKnowsEveryKeyOfTheSample(t *testing.T) {
	blocks, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/reference.hcl")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		for _, k := range b.Keys {
			name := k.Path[strings.LastIndex(k.Path, ".")+1:]
			if !strings.Contains(string(text), name) && !slices.Contains([]string{"insecure", "join_token"}, name) {
				t.Errorf("%s isn't in testdata/reference.hcl", k.Path)
			}
		}
	}
}

// TestRequiredKeys: without a required key the loader refuses the file, and without any other it doesn't.
func TestRequiredKeys(t *testing.T) {
	for _, o := range outlineOf() {
		for _, k := range o.block.keys {
			if k.argument {
				continue
			}
			_, err := o.load(k.name)
			if (err != nil) != k.isRequired {
				t.Errorf("%s: required %v, and without it: %v", k.name+inside(o.block.name), k.isRequired, err)
			}
			var problems *Error
			if k.isRequired && (!errors.As(err, &problems) || !strings.Contains(err.Error(), k.name)) {
				t.Errorf("%s: the error doesn't name it: %v", k.name+inside(o.block.name), err)
			}
		}
	}
}

// TestWhatReloads holds what the reference says against Config.Fixed: a key that changes its value is refused
// by a reload, or isn't.
func TestWhatReloads(t *testing.T) {
	blocks, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	reloads := map[string]bool{}
	for _, b := range blocks {
		for _, k := range b.Keys {
			reloads[k.Path] = k.Reload
		}
	}
	for _, o := range outlineOf() {
		for _, k := range o.block.keys {
			if k.argument {
				continue
			}
			path := strings.TrimPrefix(pathOf(o.path)+"."+k.name, ".")
			a, err := o.load("", k.assigned(k.form.samples[0])...)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			b, err := o.load("", k.assigned(k.form.samples[1])...)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			changes := a.Fixed(b)
			if (len(changes) == 0) != reloads[path] {
				t.Errorf("%s: the reference says %v of a reload, and one finds %v", path, reloads[path], changes)
			}
		}
	}
}
