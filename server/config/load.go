package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
)

// Roles that a node can be started in.
const (
	RoleHub     = "hub"
	RoleRelayer = "relayer"
)

// maxFile bounds a file. Configurations are small, and the parser recurses.
const maxFile = 1 << 20

// LoadOptions say what the files are loaded for.
type LoadOptions struct {
	// Dev fills in what `server -dev` needs: data_dir isn't required, and on a
	// hub there is a namespace "default".
	Dev bool
	// Role is RoleHub or RoleRelayer; empty checks files for either.
	Role string
	// Env answers env("NAME"); nil: the process's environment.
	Env func(string) (string, bool)
	// Secret is told of every value that env() and file() give: what shows the
	// configuration to others leaves those out. May be nil.
	Secret func(value string)
}

// source is a file's name and text. One that couldn't be read has its problem
// reported, and keeps its place in the order.
type source struct {
	name   string
	text   []byte
	failed bool
}

// Load reads files, and the .hcl and .json files of directories in sorted
// order, into a configuration. Later files win: their keys override, and blocks
// with the same labels are merged. The error is an *Error with every problem of
// every file.
func Load(paths []string, o LoadOptions) (*Config, error) {
	r := &report{}
	if len(paths) == 0 && !o.Dev {
		r.errorf(hcl.Range{}, "name a file or directory with -config, or start with -dev", "no configuration is named")
		return nil, r.err(nil)
	}
	sources := collect(paths, r)
	env := o.Env
	if env == nil {
		env = os.LookupEnv
	}
	return load(sources, r, o, evalContext(o.telling(env, readSecret)), machine())
}

// telling has Secret told of what env and read give.
func (o LoadOptions) telling(env func(string) (string, bool), read func(string) ([]byte, error)) (func(string) (string, bool), func(string) ([]byte, error)) {
	if o.Secret == nil {
		return env, read
	}
	return func(name string) (string, bool) {
			value, ok := env(name)
			if ok {
				o.Secret(value)
			}
			return value, ok
		}, func(path string) ([]byte, error) {
			b, err := read(path)
			if err == nil {
				o.Secret(withoutNewline(b))
			}
			return b, err
		}
}

// load is Load once the files are read and the machine is known.
func load(sources []source, r *report, o LoadOptions, eval *hcl.EvalContext, m defaults) (*Config, error) {
	w := &written{}
	d := &decoder{report: r, eval: eval, at: map[string]hcl.Range{}}
	whole := true
	var order []string
	for _, s := range sources {
		order = append(order, s.name)
		if s.failed {
			whole = false
			continue
		}
		f, diags := parse(s)
		if diags.HasErrors() {
			r.hcl(diags)
			whole = false
		}
		if f != nil && f.Body != nil {
			d.body(f.Body, w.file())
		}
	}
	first := hcl.Range{Start: hcl.Pos{Line: 1, Column: 1}}
	if len(order) > 0 {
		first.Filename = order[0]
	}
	c := (&resolver{report: r, w: w, at: d.at, options: o, defaults: m, first: first, whole: whole}).config()
	if err := r.err(order); err != nil {
		return nil, err
	}
	return c, nil
}

// parse reads JSON from files named so, and HCL from all others.
func parse(s source) (*hcl.File, hcl.Diagnostics) {
	if filepath.Ext(s.name) == ".json" {
		return json.Parse(s.text, s.name)
	}
	return hclsyntax.ParseConfig(s.text, s.name, hcl.InitialPos)
}

// collect reads what the paths name.
func collect(paths []string, r *report) []source {
	var sources []source
	for _, p := range paths {
		names, err := expand(p)
		if err != nil {
			r.fileProblem(p, err)
			sources = append(sources, source{name: p, failed: true})
			continue
		}
		for _, name := range names {
			text, err := readFile(name)
			if err != nil {
				r.fileProblem(name, err)
			}
			sources = append(sources, source{name: name, text: text, failed: err != nil})
		}
	}
	return sources
}

// expand is the files that a path stands for: itself, or what a directory
// holds, without the hidden files that editors leave.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && (ext == ".hcl" || ext == ".json") {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the directory holds no .hcl or .json file")
	}
	return names, nil
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("the file has %d bytes, and a configuration has at most %s", info.Size(), shortSize(maxFile))
	}
	return os.ReadFile(name)
}

// fileProblem reports a file that can't be read, as the operating system says
// it but without the name again.
func (r *report) fileProblem(name string, err error) {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	r.diagnostics = append(r.diagnostics, Diagnostic{
		File: name, Message: err.Error(), Suggestion: "check the path given with -config",
	})
}
