package httpapi

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// sample is a path that a route's placeholders are filled into.
func sample(path string) string {
	return strings.NewReplacer("{namespace}", "orders", "{key}", "k", "{rowKey}", "r", "{txnId}", "ab01", "{name}", "vector", "{method}", "search", "{id}", "edge-1").Replace(path)
}

// TestEveryEndpointHasARoute: what the router knows is in the table, and what is in the table
// the router knows.
func TestEveryEndpointHasARoute(t *testing.T) {
	public := Routes()
	if len(public) != len(routes) {
		t.Errorf("%d of %d routes are in a section of the reference: add a prefix to sections", len(public), len(routes))
	}
	named := map[string]bool{}
	for _, r := range public {
		named[r.Name] = true
		for _, path := range []string{r.Path, r.Also} {
			if path == "" {
				continue
			}
			a := &API{metrics: http.NotFoundHandler()}
			ep, _, err := a.resolve(r.Method, sample(path))
			if err != nil || ep.name != r.Name || ep.methods[r.Method] == nil {
				t.Errorf("%s %s: the router has another opinion: %v", r.Method, path, err)
			}
		}
	}
	for name := range endpointNames(t) {
		if !named[name] {
			t.Errorf("endpoint %q has no route: add a row to the table", name)
		}
	}
}

// endpointNames are the names of all endpoints in the sources.
func endpointNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, file := range sources() {
		ast.Inspect(file, func(n ast.Node) bool {
			pair, ok := n.(*ast.KeyValueExpr)
			if !ok || name(pair.Key) != "name" {
				return true
			}
			if lit, ok := pair.Value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				names[text(t, lit)] = true
			}
			return true
		})
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && name(call.Fun) == "debugEndpoint" {
				if lit, ok := call.Args[0].(*ast.BasicLit); ok {
					names["debug_"+text(t, lit)] = true
				}
			}
			return true
		})
	}
	if len(names) < 50 {
		t.Fatalf("only %d endpoints were found: the test looks for them in the wrong way", len(names))
	}
	delete(names, "debug_")
	return names
}

// TestRoutesAreDescribed: each has words, parameters that are explained, and examples that are JSON.
func TestRoutesAreDescribed(t *testing.T) {
	for _, r := range Routes() {
		at := r.Method + " " + r.Path
		if !strings.HasSuffix(r.What, ".") || r.Answer == "" {
			t.Errorf("%s: say what it does, in sentences, and what it answers", at)
		}
		for _, example := range []string{r.Body, r.Answer} {
			if strings.HasPrefix(example, "{") || strings.HasPrefix(example, "[") {
				if !json.Valid([]byte(example)) {
					t.Errorf("%s: not JSON: %s", at, example)
				}
			}
		}
		for _, q := range r.Query {
			if q.What == "" {
				t.Errorf("%s: parameter %q isn't explained: add it to parameters", at, q.Name)
			}
		}
		for _, code := range r.Codes {
			if !slices.ContainsFunc(codes, func(c ErrorCode) bool { return c.Code == code }) {
				t.Errorf("%s: code %s isn't in the table of codes", at, code)
			}
		}
	}
}

// TestLoopbackRoutes calls each route from another machine.
func TestLoopbackRoutes(t *testing.T) {
	for _, r := range routes {
		c := &call{api: &API{}, w: newRecorder(httptest.NewRecorder(), 0), Request: httptest.NewRequest(r.method, "/", http.NoBody)}
		c.RemoteAddr = "192.0.2.1:1234"
		refused := func() (refused bool) {
			defer func() { _ = recover() }() // one that goes on meets a node that isn't there
			e := c.errorOf(r.run(c))
			return e.Code == CodeForbidden
		}()
		if refused != r.loopback {
			t.Errorf("%s %s: refused from another machine: %v, and its row says %v", r.method, r.path, refused, r.loopback)
		}
	}
}

// TestEveryParameterIsInTheReference looks for the parameters that handlers read.
func TestEveryParameterIsInTheReference(t *testing.T) {
	documented := map[string]bool{"as_of": true} // refused in every form: nothing is kept
	for _, r := range Routes() {
		for _, q := range r.Query {
			documented[q.Name] = true
		}
	}
	read := map[string]bool{}
	for _, file := range sources() {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !slices.Contains([]string{"param", "flag", "duration"}, name(call.Fun)) {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok {
				read[text(t, lit)] = true
			}
			return true
		})
	}
	for p := range read {
		if !documented[p] {
			t.Errorf("parameter %q is read and no route lists it", p)
		}
	}
	if len(read) < 12 {
		t.Errorf("only %d parameters were found: the test looks for them in the wrong way", len(read))
	}
}

// sources are the package's files without its tests, and topologySources those of the group's package.
var (
	sources         = sync.OnceValue(func() []*ast.File { return parse(".") })
	topologySources = sync.OnceValue(func() []*ast.File { return parse("../topology") })
)

// parse reads the files of a folder that aren't tests. One that can't be read is missed by its tests.
func parse(dir string) []*ast.File {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.go")) // the pattern is a good one
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0); err == nil {
			files = append(files, f)
		}
	}
	return files
}

// name is an identifier's, or the last one of a selector.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func text(t *testing.T, lit *ast.BasicLit) string {
	t.Helper()
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
