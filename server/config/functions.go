package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// maxSecret bounds what file() reads: a secret isn't larger, and a wrong path
// such as a device must not fill memory.
const maxSecret = 1 << 20

// evalContext has the functions that expressions may call.
func evalContext(env func(string) (string, bool), read func(string) ([]byte, error)) *hcl.EvalContext {
	return &hcl.EvalContext{Functions: map[string]function.Function{
		"env":  envFunction(env),
		"file": fileFunction(read),
	}}
}

// envFunction is env("NAME") and env("NAME", "default").
func envFunction(lookup func(string) (string, bool)) function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if len(args) > 2 {
				return cty.NilVal, errors.New("it takes a name and a default, nothing more")
			}
			name := args[0].AsString()
			if v, ok := lookup(name); ok {
				return cty.StringVal(v), nil
			}
			if len(args) == 2 {
				return args[1], nil
			}
			return cty.NilVal, fmt.Errorf("environment variable %s is not set: set it, or give a default as in env(%q, \"…\")", name, name)
		},
	})
}

// fileFunction is file("path"): the file's text without the newline at its
// end, which editors add to secrets. A relative path starts at the working
// directory, as in all paths of the configuration.
func fileFunction(read func(string) ([]byte, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			b, err := read(args[0].AsString())
			if err != nil {
				return cty.NilVal, fmt.Errorf("can't read the secret: %w", err)
			}
			return cty.StringVal(withoutNewline(b)), nil
		},
	})
}

// withoutNewline is a file's text without the newline at its end.
func withoutNewline(b []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
}

// readSecret reads a whole file of at most maxSecret bytes.
func readSecret(path string) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err = io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSecret {
		return nil, fmt.Errorf("%s is larger than 1MiB", path)
	}
	return b, nil
}
