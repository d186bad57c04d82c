package reference

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// constants are the untyped constants of a file, by name, as their text.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if i < len(spec.Values) {
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok {
					values[name.Name] = plain(t, lit)
				}
			}
		}
		return true
	})
	return values
}

func plain(t *testing.T, lit *ast.BasicLit) string {
	t.Helper()
	if lit.Kind != token.STRING {
		return lit.Value
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFilesHaveTheirMagicAndVersion holds the table against the sources.
func TestFilesHaveTheirMagicAndVersion(t *testing.T) {
	for _, f := range Files() {
		if f.What == "" || f.Form == "" {
			t.Errorf("%s is not described", f.Path)
		}
		if f.source == "" {
			if f.Magic != "" || f.Version != "" {
				t.Errorf("%s: nobody knows where its magic and version are from", f.Path)
			}
			continue
		}
		values := constants(t, filepath.Join(root, f.source))
		if f.magic != "" && values[f.magic] != f.Magic {
			t.Errorf("%s: the magic is %q, and %s has %q", f.Path, f.Magic, f.source, values[f.magic])
		}
		if values[f.version] != f.Version {
			t.Errorf("%s: the version is %s, and %s has %q", f.Path, f.Version, f.source, values[f.version])
		}
	}
}

// TestRefusalsAreWhole: each code that nodes tell each other is described once.
func TestRefusalsAreWhole(t *testing.T) {
	for path, table := range map[string][]Refusal{
		"replicator/refusal.go":              StreamRefusals(),
		"server/internal/control/refusal.go": SessionRefusals(),
	} {
		described := map[string]int{}
		for _, r := range table {
			described[r.Code]++
			if !strings.HasSuffix(r.Meaning, ".") || !strings.HasSuffix(r.Do, ".") {
				t.Errorf("%s: say what happened and what to do, in sentences", r.Code)
			}
		}
		declared := 0
		for name, code := range constants(t, filepath.Join(root, path)) {
			if !strings.HasPrefix(name, "Code") {
				continue
			}
			declared++
			if described[code] != 1 {
				t.Errorf("%s of %s is described %d times", code, path, described[code])
			}
		}
		if declared != len(table) || declared < 10 {
			t.Errorf("%s has %d codes, the table %d", path, declared, len(table))
		}
	}
}

// TestNamespaceCodesAreDescribed: what the kernel calls the reason of a state is in one of the tables.
func TestNamespaceCodesAreDescribed(t *testing.T) {
	described := map[string]bool{}
	for _, c := range Codes() {
		described[c.Code] = true
	}
	for _, table := range [][]Refusal{StreamRefusals(), NamespaceRefusals()} {
		for _, r := range table {
			described[r.Code] = true
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "dbkernel/namespace.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		f, ok := n.(*ast.FuncDecl)
		if !ok || f.Name.Name != "codeOf" {
			return true
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				found++
				if code := plain(t, lit); !described[code] {
					t.Errorf("%s isn't described", code)
				}
			}
			return true
		})
		return false
	})
	if found < 8 {
		t.Errorf("only %d codes were found: the test looks for them in the wrong way", found)
	}
}
