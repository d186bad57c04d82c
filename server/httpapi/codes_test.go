package httpapi

import (
	"go/ast"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestEveryCodeIsDescribed: programs decide by codes, so that each constant has a line in the table, and each
// line a constant.
func TestEveryCodeIsDescribed(t *testing.T) {
	declared := map[string]bool{}
	for _, files := range [][]*ast.File{sources(), topologySources()} {
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") {
					return true
				}
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
					declared[text(t, lit)] = true
				}
				return true
			})
		}
	}
	if len(declared) < 80 {
		t.Fatalf("only %d codes were found: the test looks for them in the wrong way", len(declared))
	}
	seen := map[string]bool{}
	for _, c := range codes {
		if seen[c.Code] {
			t.Errorf("%s stands twice in the table", c.Code)
		}
		seen[c.Code] = true
		if !declared[c.Code] {
			t.Errorf("%s is in the table and no constant", c.Code)
		}
		if len(c.Statuses) == 0 || !strings.HasSuffix(c.Meaning, ".") || !strings.HasSuffix(c.Do, ".") {
			t.Errorf("%s: give its statuses, what happened and what to do, in sentences", c.Code)
		}
	}
	for code := range declared {
		if !seen[code] {
			t.Errorf("%s isn't in the table of codes.go", code)
		}
	}
}

// TestCodesHaveTheirStatuses holds the table against the tables that make answers.
func TestCodesHaveTheirStatuses(t *testing.T) {
	made := map[string][]int{}
	for _, k := range slices.Concat(groupErrors, kernelErrors, pluginErrors) {
		made[k.code] = append(made[k.code], k.status)
	}
	for code, status := range refusalStatus {
		made[code] = append(made[code], status)
	}
	for code, statuses := range literalStatuses(t) {
		made[code] = append(made[code], statuses...)
	}
	for code, statuses := range made {
		for _, c := range codes {
			if c.Code != code {
				continue
			}
			for _, status := range statuses {
				if !slices.Contains(c.Statuses, status) {
					t.Errorf("%s is answered with %d, and the table has %v", code, status, c.Statuses)
				}
			}
		}
	}
}

// literalStatuses are those of errors that are written out in the sources, by code.
func literalStatuses(t *testing.T) map[string][]int {
	t.Helper()
	values := map[string]string{} // of constants
	for _, files := range [][]*ast.File{sources(), topologySources()} {
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
					if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
						values[spec.Names[0].Name] = strings.Trim(lit.Value, `"`)
					}
				}
				return true
			})
		}
	}
	found := map[string][]int{}
	for _, file := range sources() {
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || name(lit.Type) != "Error" {
				return true
			}
			var status, code string
			for _, e := range lit.Elts {
				if pair, ok := e.(*ast.KeyValueExpr); ok {
					switch name(pair.Key) {
					case "Status":
						status = name(pair.Value)
					case "Code":
						code = name(pair.Value)
					}
				}
			}
			if n, known := statusByName[status]; known && values[code] != "" {
				found[values[code]] = append(found[values[code]], n)
			}
			return true
		})
	}
	if len(found) < 20 {
		t.Fatalf("only %d errors were found: the test looks for them in the wrong way", len(found))
	}
	return found
}

var statusByName = map[string]int{
	"StatusBadRequest": http.StatusBadRequest, "StatusForbidden": http.StatusForbidden, "StatusNotFound": http.StatusNotFound,
	"StatusMethodNotAllowed": http.StatusMethodNotAllowed, "StatusRequestTimeout": http.StatusRequestTimeout, "StatusConflict": http.StatusConflict,
	"StatusGone": http.StatusGone, "StatusPreconditionFailed": http.StatusPreconditionFailed, "StatusRequestEntityTooLarge": http.StatusRequestEntityTooLarge,
	"StatusRequestedRangeNotSatisfiable": http.StatusRequestedRangeNotSatisfiable, "StatusTooManyRequests": http.StatusTooManyRequests,
	"StatusInternalServerError": http.StatusInternalServerError, "StatusBadGateway": http.StatusBadGateway,
	"StatusServiceUnavailable": http.StatusServiceUnavailable, "StatusGatewayTimeout": http.StatusGatewayTimeout,
}
