package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Check holds a configuration against a schema and says all that is wrong with
// it. The node calls it before it hands a configuration over, and a plugin in
// Decode, so that both have one opinion. Blocks are maps, lists are []any or
// []string; numbers are whatever encoding/json or HCL make of them.
func Check(schema *pluginv1.Schema, arguments map[string]any) Problems {
	c := checker{}
	c.block(schema, arguments, "")
	return c.problems
}

type checker struct{ problems Problems }

func (c *checker) add(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// block checks the arguments of a block whose path is a prefix with its dot.
func (c *checker) block(schema *pluginv1.Schema, arguments map[string]any, prefix string) {
	known := map[string]bool{}
	for _, a := range schema.GetAttributes() {
		known[a.GetName()] = true
		c.attribute(a, arguments[a.GetName()], prefix+a.GetName())
	}
	for _, b := range schema.GetBlocks() {
		known[b.GetName()] = true
		c.inner(b, arguments[b.GetName()], prefix+b.GetName())
	}
	for _, name := range slices.Sorted(maps.Keys(arguments)) {
		if !known[name] {
			c.add(prefix+name, "there is no argument %q%s", name, suggestion(name, known))
		}
	}
}

func (c *checker) inner(b *pluginv1.Block, value any, path string) {
	if value == nil {
		if b.GetRequired() {
			c.add(path, "the block %q is missing", b.GetName())
		}
		return
	}
	arguments, ok := value.(map[string]any)
	if !ok {
		c.add(path, "%q is a block, not %s: write %s { … }", b.GetName(), described(value), b.GetName())
		return
	}
	c.block(b.GetSchema(), arguments, path+".")
}

func (c *checker) attribute(a *pluginv1.Attribute, value any, path string) {
	if value == nil {
		if a.GetRequired() {
			c.add(path, "the argument %q is missing", a.GetName())
		}
		return
	}
	switch a.GetType() {
	case pluginv1.Attribute_TYPE_STRING:
		c.text(a, value, path)
	case pluginv1.Attribute_TYPE_BOOL:
		if _, ok := value.(bool); !ok {
			c.wanted(path, value, "true or false")
		}
	case pluginv1.Attribute_TYPE_INTEGER, pluginv1.Attribute_TYPE_NUMBER:
		c.number(a, value, path)
	case pluginv1.Attribute_TYPE_DURATION:
		c.duration(a, value, path)
	case pluginv1.Attribute_TYPE_SIZE:
		c.size(value, path)
	case pluginv1.Attribute_TYPE_STRING_LIST:
		if _, ok := stringList(value); !ok {
			c.wanted(path, value, "a list of strings")
		}
	case pluginv1.Attribute_TYPE_STRING_MAP:
		if _, ok := stringMap(value); !ok {
			c.wanted(path, value, "a map of strings")
		}
	default: // of a later version: the plugin itself checks it
	}
}

func (c *checker) wanted(path string, got any, want string) {
	c.add(path, "use %s, not %s", want, described(got))
}

func (c *checker) text(a *pluginv1.Attribute, value any, path string) {
	s, ok := value.(string)
	switch {
	case !ok:
		c.wanted(path, value, "a string")
	case len(a.GetOneOf()) > 0 && !slices.Contains(a.GetOneOf(), s):
		shown := strconv.Quote(s)
		if a.GetSensitive() {
			shown = "what is there"
		}
		c.add(path, "use %s, not %s", listed(a.GetOneOf()), shown)
	case a.GetRequired() && s == "":
		c.add(path, "%q must not be empty", a.GetName())
	}
}

func (c *checker) number(a *pluginv1.Attribute, value any, path string) {
	r, ok := rational(value)
	integer := a.GetType() == pluginv1.Attribute_TYPE_INTEGER
	switch {
	case !ok && integer:
		c.wanted(path, value, "a whole number")
	case !ok:
		c.wanted(path, value, "a number")
	case integer && !r.IsInt():
		c.add(path, "use a whole number")
	default:
		n, _ := r.Float64()
		if math.IsInf(n, 0) {
			c.add(path, "the number is out of range: use a smaller one")
			return
		}
		c.bounds(a, n, path, func(limit float64) string { return strconv.FormatFloat(limit, 'f', -1, 64) })
	}
}

func (c *checker) duration(a *pluginv1.Attribute, value any, path string) {
	s, ok := value.(string)
	if !ok {
		c.wanted(path, value, `a duration such as "1m30s"`)
		return
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		c.add(path, `%q is no duration: use a number and a unit, as in "20ms", "10s" or "1h"`, s)
	case d < 0 && a.Minimum == nil:
		c.add(path, "%q is negative: use 0s or more", s)
	default:
		c.bounds(a, d.Seconds(), path, func(limit float64) string {
			return strconv.Quote(time.Duration(math.Round(limit * float64(time.Second))).String())
		})
	}
}

func (c *checker) size(value any, path string) {
	s, ok := value.(string)
	if !ok {
		c.wanted(path, value, `a size such as "16MiB"`)
		return
	}
	if _, err := ParseSize(s); err != nil {
		c.add(path, "%v", err)
	}
}

func (c *checker) bounds(a *pluginv1.Attribute, n float64, path string, show func(float64) string) {
	if a.Minimum != nil && n < a.GetMinimum() {
		c.add(path, "use %s or more", show(a.GetMinimum()))
	}
	if a.Maximum != nil && n > a.GetMaximum() {
		c.add(path, "use %s or less", show(a.GetMaximum()))
	}
}

// rational is a number exactly, whoever made it.
func rational(value any) (*big.Rat, bool) {
	switch n := value.(type) {
	case json.Number:
		return new(big.Rat).SetString(n.String())
	case float64:
		r := new(big.Rat).SetFloat64(n)
		return r, r != nil
	case int:
		return new(big.Rat).SetInt64(int64(n)), true
	case int64:
		return new(big.Rat).SetInt64(n), true
	case uint64:
		return new(big.Rat).SetUint64(n), true
	case *big.Float:
		if n.IsInf() {
			return nil, false
		}
		r, _ := n.Rat(nil)
		return r, r != nil
	default:
		return nil, false
	}
}

func stringList(value any) ([]string, bool) {
	switch list := value.(type) {
	case []string:
		return list, true
	case []any:
		texts := make([]string, len(list))
		for i, element := range list {
			s, ok := element.(string)
			if !ok {
				return nil, false
			}
			texts[i] = s
		}
		return texts, true
	default:
		return nil, false
	}
}

func stringMap(value any) (map[string]string, bool) {
	switch m := value.(type) {
	case map[string]string:
		return m, true
	case map[string]any:
		texts := make(map[string]string, len(m))
		for key, element := range m {
			s, ok := element.(string)
			if !ok {
				return nil, false
			}
			texts[key] = s
		}
		return texts, true
	default:
		return nil, false
	}
}

// described names the type of a value as a user would. The value itself isn't
// shown: it may be a secret.
func described(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case []any, []string:
		return "a list"
	case map[string]any, map[string]string:
		return "a block or a map"
	}
	if _, ok := rational(value); ok {
		return "a number"
	}
	return "what is there"
}

func listed(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// suggestion is the known name that a slip may have meant, or all of them where
// they are few.
func suggestion(name string, known map[string]bool) string {
	names := slices.Sorted(maps.Keys(known))
	best, bestDistance := "", len(name)/3+2
	for _, candidate := range names {
		if d := distance(name, candidate); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(": did you mean %q?", best)
	case len(names) == 0:
		return ": none is taken here"
	default:
		return ": there are " + strings.Join(names, ", ")
	}
}

// distance is how many letters have to be put in, taken out, exchanged, or
// swapped with the next to make one word of the other.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
