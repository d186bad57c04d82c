package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	rootModule = "github.com/unisondb/unisondb"
	sdkModule  = rootModule + "/sdk"
)

// floors are the parts of the tree, each with its height. A package imports
// from floors below its own and from the children of its own floor's front,
// never upward. What stands in no floor has to be added here first.
var floors = []struct {
	top    string // folder below the root; the root itself is ""
	height int
}{
	{"", 6},
	{"tests", 6},   // only tests, of the whole
	{"bench", 6},   // programs that measure the whole
	{"website", 6}, // the site: what generates pages, and tests of them
	{"tools", 6},   // programs that make what is delivered with it
	{"command", 5},
	{"server", 4},
	{"replicator", 3},
	{"plugins", 2},
	{"dbkernel", 1},
	{"sdk", 0},
}

// harness says whether a package is there for tests alone: it may start its own
// floor's front, and only tests may import it.
func harness(folder string) bool {
	return strings.HasSuffix(folder, "test") && strings.Contains(folder, "/")
}

// alone are packages that import nothing of ours.
var alone = []string{"server/config"}

// cgoAllowed are packages that may use C.
var cgoAllowed = []string{"dbkernel/internal/lmdb", "plugins/notifier/zeromq"}

// sdkMayImport is what a plugin's author takes over with the SDK.
var sdkMayImport = []string{
	"google.golang.org/grpc",
	"google.golang.org/protobuf",
	"google.golang.org/genproto/googleapis/rpc", // the details of gRPC's errors
	"github.com/hashicorp/go-plugin",
	"github.com/hashicorp/go-hclog",
}

// commandMayImport is what files of a command may import besides the SDK:
// commands reach a node through sdk/client, and only those that start one know
// the server.
var commandMayImport = map[string][]string{
	"server.go":            {"server", "server/config"},
	"relayer.go":           {"server", "server/config"},
	"node.go":              {"server", "server/config", "server/heap"}, // what server.go and relayer.go share
	"logging.go":           {"server/config"},                          // the node's logger, as configured
	"config_validate.go":   {"server/config"},
	"operator_log.go":      {"server/config"}, // offline, too
	"operator_diagnose.go": {"server/diagnose"},
	"operator_debug.go":    {"server/diagnose", "server/config"},
	"tls_ca_create.go":     {"server/certs"}, // offline, too
	"tls_cert_create.go":   {"server/certs", "server/acl"},

	"operator_snapshot_inspect.go": {"server/topology"}, // offline
	"operator_raft_recover.go":     {"server/topology"},
}

// commandMayImportAnywhere is for the offline tools.
var commandMayImportAnywhere = []string{"command", "dbkernel/inspect"}

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	CgoFiles     []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// folder is a package's folder below the root.
func (p goPackage) folder() string { return folderOf(p.ImportPath) }

func folderOf(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, rootModule), "/")
}

func ours(importPath string) bool {
	return importPath == rootModule || strings.HasPrefix(importPath, rootModule+"/")
}

// floorOf is the floor that a folder is in.
func floorOf(folder string) (top string, height int, ok bool) {
	first, _, _ := strings.Cut(folder, "/")
	for _, f := range floors {
		if f.top == first {
			return f.top, f.height, true
		}
	}
	return "", 0, false
}

// importProblem says why a package may not import another, both as folders, or
// is empty. Tests may import whatever isn't above them.
func importProblem(from, to string, test bool) string {
	fromTop, fromHeight, ok := floorOf(from)
	if !ok {
		return fmt.Sprintf("%s is in no floor: add it to the table in imports_test.go", from)
	}
	toTop, toHeight, ok := floorOf(to)
	switch {
	case !ok:
		return fmt.Sprintf("%s is in no floor: add it to the table in imports_test.go", to)
	case toHeight > fromHeight:
		return fmt.Sprintf("%s imports %s, which is above it", from, to)
	case test:
		return ""
	case harness(to) && !harness(from):
		return fmt.Sprintf("%s imports %s, which is for tests", from, to)
	case slices.Contains(alone, from):
		return fmt.Sprintf("%s imports %s, and it must import nothing of ours", from, to)
	case fromTop == "plugins" && toTop != "sdk" && !samePlugin(from, to):
		return fmt.Sprintf("%s imports %s, and plugins import the SDK alone", from, to)
	case fromTop == toTop && to == toTop && from != to && !harness(from):
		return fmt.Sprintf("%s imports %s, its own floor's front", from, to)
	}
	return ""
}

// samePlugin says whether two folders are parts of one plugin.
func samePlugin(a, b string) bool {
	plugin := func(folder string) string {
		return strings.Join(strings.SplitN(folder+"///", "/", 4)[:3], "/")
	}
	return plugin(a) == plugin(b)
}

// TestImports holds the table of floors against the code.
func TestImports(t *testing.T) {
	for _, p := range listPackages(t, ".") {
		check := func(imports []string, test bool) {
			for _, i := range imports {
				if !ours(i) || i == p.ImportPath {
					continue
				}
				if problem := importProblem(p.folder(), folderOf(i), test); problem != "" {
					t.Error(problem)
				}
			}
		}
		check(p.Imports, false)
		check(p.TestImports, true)
		check(p.XTestImports, true)
		if len(p.CgoFiles) > 0 && !slices.Contains(cgoAllowed, p.folder()) {
			t.Errorf("%s uses C in %s: only %s may", p.folder(), p.CgoFiles, cgoAllowed)
		}
	}
}

// TestSDKStandsAlone keeps the SDK free of the server and of what plugin
// authors shouldn't have to take.
func TestSDKStandsAlone(t *testing.T) {
	for _, p := range listPackages(t, "sdk") {
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses C in %s", p.ImportPath, p.CgoFiles)
		}
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if ours(i) && i != sdkModule && !strings.HasPrefix(i, sdkModule+"/") {
				t.Errorf("%s imports %s of the root module", p.ImportPath, i)
			}
		}
		for _, i := range p.Imports {
			if !ours(i) && thirdParty(i) && !slices.ContainsFunc(sdkMayImport, func(allowed string) bool {
				return i == allowed || strings.HasPrefix(i, allowed+"/")
			}) {
				t.Errorf("%s imports %s: the SDK takes only %s", p.ImportPath, i, strings.Join(sdkMayImport, ", "))
			}
		}
	}
}

// TestExamplesTakeTheSDKAlone: what the examples of plugins import is what a plugin's author,
// whose program is a module of its own, can import.
func TestExamplesTakeTheSDKAlone(t *testing.T) {
	modules, err := filepath.Glob("examples/*/go.mod")
	if err != nil || len(modules) == 0 {
		t.Fatalf("no example has a go.mod of its own: %v", err)
	}
	for _, module := range modules {
		for _, p := range listPackages(t, filepath.Dir(module)) {
			for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				if ours(i) && !strings.HasPrefix(i, sdkModule+"/") && !strings.HasPrefix(i, p.ImportPath) {
					t.Errorf("%s imports %s: examples take the SDK alone", p.ImportPath, i)
				}
			}
		}
	}
}

// TestCommandsReachNodesThroughTheClient looks at files, because all commands
// are one package.
func TestCommandsReachNodesThroughTheClient(t *testing.T) {
	for _, p := range listPackages(t, ".") {
		if top, _, _ := floorOf(p.folder()); top != "command" {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.CgoFiles) {
			for _, i := range fileImports(t, filepath.Join(p.Dir, file)) {
				if problem := commandProblem(p.folder(), file, i); problem != "" {
					t.Error(problem)
				}
			}
		}
	}
}

// commandProblem says why a file of a command may not import a package, or is
// empty.
func commandProblem(folder, file, importPath string) string {
	if !ours(importPath) {
		return ""
	}
	to := folderOf(importPath)
	top, _, _ := floorOf(to)
	if top == "sdk" || slices.Contains(commandMayImport[file], to) {
		return ""
	}
	for _, allowed := range commandMayImportAnywhere {
		if to == allowed || strings.HasPrefix(to, allowed+"/") {
			return ""
		}
	}
	return fmt.Sprintf("%s/%s imports %s: commands reach a node through sdk/client", folder, file, to)
}

// TestImportRulesRefuse shows that the rules can fail.
func TestImportRulesRefuse(t *testing.T) {
	for _, tt := range []struct {
		from, to      string
		test, allowed bool
	}{
		{"", "command", false, true},
		{"command", "server", false, true},
		{"server", "server/httpapi", false, true},
		{"server/httpapi", "server/internal/metrics", false, true},
		{"server/servertest", "server", false, true},
		{"replicator/internal/replicatortest", "replicator", false, true},
		{"server", "server/servertest", true, true},
		{"dbkernel/internal/wal", "dbkernel/vfs", false, true},
		{"replicator", "dbkernel", false, true},
		{"plugins/notifier/zeromq", "sdk/notifier", false, true},
		{"plugins/model/vector", "plugins/model/vector/internal/index", false, true},
		{"server/httpapi", "server", true, true},

		{"server/httpapi", "server", false, false},
		{"server/config", "dbkernel", false, false},
		{"server", "server/servertest", false, false},
		{"server", "command", false, false},
		{"replicator", "server/config", false, false},
		{"dbkernel", "replicator", false, false},
		{"dbkernel", "server", true, false},
		{"dbkernel/internal/wal", "dbkernel", false, false},
		{"plugins/model/vector", "dbkernel", false, false},
		{"plugins/model/vector", "plugins/notifier/webhook", false, false},
		{"plugins/model/vector", "plugins/model", false, false},
		{"sdk/client", "dbkernel", false, false},
		{"helpers", "sdk/client", false, false},
		{"server", "util", false, false},
	} {
		problem := importProblem(tt.from, tt.to, tt.test)
		if (problem == "") != tt.allowed {
			t.Errorf("%q importing %q (test %v): %q, want allowed %v", tt.from, tt.to, tt.test, problem, tt.allowed)
		}
	}
	for _, tt := range []struct {
		file, to string
		allowed  bool
	}{
		{"kv_get.go", "sdk/client", true},
		{"server.go", "server", true},
		{"config_validate.go", "server/config", true},
		{"operator_log_dump.go", "dbkernel/inspect", true},
		{"kv_get.go", "server", false},
		{"kv_get.go", "dbkernel", false},
		{"config_validate.go", "server", false},
		{"server.go", "dbkernel", false},
	} {
		problem := commandProblem("command", tt.file, rootModule+"/"+tt.to)
		if (problem == "") != tt.allowed {
			t.Errorf("%s importing %s: %q, want allowed %v", tt.file, tt.to, problem, tt.allowed)
		}
	}
}

// thirdParty says whether an import comes from another module: only those have
// a dot in the first part of their path.
func thirdParty(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(first, ".")
}

// listPackages is every package of the module in a folder.
func listPackages(t *testing.T, dir string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e",
		"-json=ImportPath,Dir,GoFiles,CgoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatalf("go list finds no package in %s", dir)
	}
	return packages
}

// fileImports is what a file imports.
func fileImports(t *testing.T, path string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var imports []string
	for _, spec := range f.Imports {
		i, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		imports = append(imports, i)
	}
	return imports
}
