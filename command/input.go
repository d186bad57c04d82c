package command

import (
	"encoding/base64"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Limits of values, in bytes, as the API has them.
const (
	maxValue       = 8 << 20 // of a key
	maxColumnValue = 1 << 20 // of a column, which travels as JSON
)

// keyFlag says how key arguments are written.
type keyFlag struct{ base64 bool }

func (k *keyFlag) define(fs *flag.FlagSet) {
	fs.BoolVar(&k.base64, "key-base64", false, "Keys on the command line are standard base64, for keys that are not text.")
}

// key reads a key argument.
func (k *keyFlag) key(arg string) ([]byte, error) {
	if !k.base64 {
		if arg == "" {
			return nil, usagef("the key is empty: give one of 1 to 400 bytes")
		}
		return []byte(arg), nil
	}
	key, err := base64.StdEncoding.Strict().DecodeString(arg)
	if err != nil || len(key) == 0 {
		return nil, usagef("%q is no key in base64: with -key-base64 give it as 'base64' prints it", arg)
	}
	return key, nil
}

// bound is key for a flag that may be left out.
func (k *keyFlag) bound(arg string) ([]byte, error) {
	if arg == "" {
		return nil, nil
	}
	return k.key(arg)
}

// valueFlag says how value arguments are written.
type valueFlag struct {
	literal   bool
	usedStdin bool
}

func (v *valueFlag) define(fs *flag.FlagSet) {
	fs.BoolVar(&v.literal, "literal", false, "Take values as they stand: neither - nor @FILE mean anything else.")
}

// value reads a value argument: itself, "-" for standard input, or "@file".
func (v *valueFlag) value(m *Meta, arg string, limit int64) ([]byte, error) {
	switch {
	case v.literal:
		return []byte(arg), nil
	case arg == "-" && v.usedStdin:
		return nil, usagef("- stands for standard input, which can be read only once")
	case arg == "-":
		v.usedStdin = true
		return readValue("standard input", m.stdin, limit)
	case !strings.HasPrefix(arg, "@"):
		return []byte(arg), nil
	}
	name := arg[1:]
	file, err := openFile(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	return readValue(name, file, limit)
}

func openFile(name string) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, localf("open %s: %w", name, causeOf(err))
	}
	return file, nil
}

func readValue(name string, r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, localf("read %s: %w", name, causeOf(err))
	}
	if int64(len(b)) > limit {
		return nil, localf("%s has more than %s, which is the limit of a value here: store it as a large object with '%s lob put'", name, formatBytes(limit), Name)
	}
	return b, nil
}

// causeOf takes the path and operation out of an error whose message names them
// already.
func causeOf(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
