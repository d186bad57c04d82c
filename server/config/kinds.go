package config

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// kind is what a key takes. take turns what an expression evaluated to into a value, or says
// what is wrong with it.
type kind[T any] struct {
	form form
	take func(cty.Value) (T, *problem)
}

// form says what a kind takes, for the reference.
type form struct {
	text string // as a user would say it: a duration, "1ms" to "1h"
	// samples are two values that it takes, as they are written.
	samples [2]string
}

func quoted(a, b string) [2]string { return [2]string{strconv.Quote(a), strconv.Quote(b)} }

// The kinds without parameters.
var (
	textKind    = kind[string]{form{"text", quoted("a", "b")}, text}
	filledKind  = kind[string]{form{"text, not empty", quoted("a", "b")}, filled}
	booleanKind = kind[bool]{form{"`true` or `false`", [2]string{"false", "true"}}, boolean}
)

// Units of sizes, in bytes. Those with an i are powers of two.
var units = []struct {
	name  string
	bytes int64
}{
	{"B", 1},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
}

func unitNames() []string {
	names := make([]string, len(units))
	for i, u := range units {
		names[i] = u.name
	}
	return names
}

// text takes any string.
func text(v cty.Value) (string, *problem) {
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() {
		return "", &problem{message: "a string is needed here, not " + described(v), suggestion: `write it in quotes`}
	}
	return s.AsString(), nil
}

// filled takes any string but an empty one.
func filled(v cty.Value) (string, *problem) {
	s, p := text(v)
	if p == nil && strings.TrimSpace(s) == "" {
		p = &problem{message: "the value is empty", suggestion: "write a value or leave the key out"}
	}
	return s, p
}

// oneOf takes one of the words.
func oneOf(words ...string) kind[string] {
	var all []string
	for _, w := range words {
		all = append(all, fmt.Sprintf("`%q`", w))
	}
	return kind[string]{form{orList(all), quoted(words[0], words[1])}, func(v cty.Value) (string, *problem) {
		s, p := text(v)
		if p != nil || slices.Contains(words, s) {
			return s, p
		}
		hint := didYouMean(s, words)
		if hint == "" {
			hint = "use " + listed(words)
		}
		return "", &problem{message: fmt.Sprintf("%q is not one of %s", s, listed(words)), suggestion: hint}
	}}
}

// orList is words with commas, and "or" before the last one.
func orList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// matching takes a string of a form; what says what such a string is, shape how
// it must look. a and b are two such strings.
func matching(re *regexp.Regexp, what, shape, a, b string) kind[string] {
	return kind[string]{form{what, quoted(a, b)}, func(v cty.Value) (string, *problem) {
		s, p := text(v)
		if p == nil && !re.MatchString(s) {
			p = badName(s, what, shape)
		}
		return s, p
	}}
}

func badName(s, what, form string) *problem {
	return &problem{message: fmt.Sprintf("%q is no %s", s, what), suggestion: "use " + form}
}

// boolean takes true and false, also as strings, as env() gives them.
func boolean(v cty.Value) (bool, *problem) {
	b, err := convert.Convert(v, cty.Bool)
	if err != nil || b.IsNull() {
		return false, &problem{message: "true or false is needed here, not " + described(v), suggestion: "write true or false"}
	}
	return b.True(), nil
}

// integer takes a whole number from lo to hi.
func integer(lo, hi int64) kind[int] {
	f := form{fmt.Sprintf("whole number, %d to %d", lo, hi), [2]string{strconv.FormatInt(lo, 10), strconv.FormatInt(lo+1, 10)}}
	return kind[int]{f, func(v cty.Value) (int, *problem) {
		n, err := convert.Convert(v, cty.Number)
		if err != nil || n.IsNull() {
			return 0, &problem{message: "a number is needed here, not " + described(v), suggestion: fmt.Sprintf("use %d to %d", lo, hi)}
		}
		i, accuracy := n.AsBigFloat().Int64()
		if accuracy != big.Exact || i < lo || i > hi {
			return 0, &problem{
				message:    fmt.Sprintf("%s is not a whole number from %d to %d", n.AsBigFloat().Text('g', 20), lo, hi),
				suggestion: fmt.Sprintf("use %d to %d", lo, hi),
			}
		}
		return int(i), nil
	}}
}

// duration takes a duration from lo to hi, and 0 where zero says so.
func duration(lo, hi time.Duration, zero bool) kind[time.Duration] {
	f := form{"duration, " + bounds(shortDuration(lo), shortDuration(hi), "0s", zero), quoted(shortDuration(lo), shortDuration(2*lo))}
	return kind[time.Duration]{f, func(v cty.Value) (time.Duration, *problem) {
		s, p := text(v)
		if p != nil {
			return 0, p
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, &problem{message: fmt.Sprintf("%q is no duration", s), suggestion: durationHint(s)}
		}
		if (d < lo || d > hi) && (d != 0 || !zero) {
			return 0, outOfRange(s, shortDuration(lo), shortDuration(hi), zero)
		}
		return d, nil
	}}
}

// bounds are those of a range as a user writes them. An empty hi is none.
func bounds(lo, hi, nothing string, zero bool) string {
	s := fmt.Sprintf("`%q` to `%q`", lo, hi)
	if hi == "" {
		s = fmt.Sprintf("`%q` or more", lo)
	}
	if zero {
		s += fmt.Sprintf(", or `%q`", nothing)
	}
	return s
}

var bareDuration = regexp.MustCompile(`^([0-9]+) ?(d|days?)?$`)

// durationHint says how to write what was meant.
func durationHint(s string) string {
	if m := bareDuration.FindStringSubmatch(s); len(m) == 3 {
		number, unit := m[1], m[2]
		if unit == "" {
			return fmt.Sprintf("add a unit, as in %q or %q", number+"ms", number+"s")
		}
		if days, err := strconv.Atoi(number); err == nil && days < 1e6 {
			return fmt.Sprintf("write days in hours: \"%dh\"", days*24)
		}
	}
	return `use a number with ns, us, ms, s, m or h, as in "20ms" or "1h30m"`
}

// shortDuration is 1h instead of 1h0m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// size takes a number of bytes from lo to hi, and 0 where zero says so.
func size(lo, hi int64, zero bool) kind[int64] {
	largest, least := shortSize(hi), max(lo, 1)
	if hi == anySize {
		largest = ""
	}
	f := form{"size, " + bounds(shortSize(lo), largest, "0", zero && lo > 0), quoted(shortSize(least), shortSize(2*least))}
	return kind[int64]{f, func(v cty.Value) (int64, *problem) {
		s, p := text(v)
		if p != nil {
			return 0, p
		}
		n, p := parseSize(s)
		if p == nil && (n < lo || n > hi) && (n != 0 || !zero) {
			p = outOfRange(s, shortSize(lo), shortSize(hi), zero)
		}
		return n, p
	}}
}

func outOfRange(s, lo, hi string, zero bool) *problem {
	hint := fmt.Sprintf("use %q to %q", lo, hi)
	if zero {
		hint += `, or "0"`
	}
	return &problem{message: fmt.Sprintf("%q is out of range", s), suggestion: hint}
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,30}(?:\.[0-9]{1,30})?)(?: ?([A-Za-z]+))?$`)

// parseSize reads a size: a number, and a unit unless it means bytes.
func parseSize(s string) (int64, *problem) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, &problem{message: fmt.Sprintf("%q is no size", s), suggestion: `use a number and a unit, as in "16MiB" or "1GB"`}
	}
	unit := int64(1)
	if m[2] != "" {
		i := slices.Index(unitNames(), m[2])
		if i < 0 {
			return 0, &problem{message: fmt.Sprintf("%q has the unknown unit %q", s, m[2]), suggestion: unitHint(m[1], m[2])}
		}
		unit = units[i].bytes
	}
	n, ok := new(big.Rat).SetString(m[1])
	if !ok {
		return 0, &problem{message: fmt.Sprintf("%q is no size", s)}
	}
	n.Mul(n, new(big.Rat).SetInt64(unit))
	if !n.IsInt() || !n.Num().IsInt64() {
		return 0, &problem{message: fmt.Sprintf("%q is no whole number of bytes that UnisonDB can count", s), suggestion: `use a smaller number or another unit`}
	}
	return n.Num().Int64(), nil
}

// unitHint completes M to MiB and corrects mib, instead of guessing what was meant.
func unitHint(number, unit string) string {
	for _, u := range units {
		if strings.EqualFold(u.name, unit) {
			return fmt.Sprintf("did you mean %q?", number+u.name)
		}
	}
	if prefix := strings.ToUpper(unit); slices.Contains([]string{"K", "M", "G", "T"}, prefix) {
		return fmt.Sprintf("write %q (powers of 1024) or %q (powers of 1000)", number+prefix+"iB", number+prefix+"B")
	}
	return "use " + listed(unitNames())
}

// shortSize is a size in the largest unit that leaves a whole number.
func shortSize(n int64) string {
	best := units[0]
	for _, u := range units {
		if strings.HasSuffix(u.name, "iB") && n >= u.bytes && n%u.bytes == 0 {
			best = u
		}
	}
	if best.bytes == 1 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n/best.bytes, 10) + best.name
}

// described names the type of a value as a user would.
func described(v cty.Value) string {
	switch t := v.Type(); {
	case v.IsNull():
		return "null"
	case t.IsListType(), t.IsTupleType(), t.IsSetType():
		return "a list"
	case t.IsMapType(), t.IsObjectType():
		return "an object"
	case t == cty.String:
		return fmt.Sprintf("the string %q", v.AsString())
	default:
		return t.FriendlyName()
	}
}

// plain turns a value into Go's own types: string, bool, int64, float64,
// []any, map[string]any and nil, as JSON has them.
func plain(v cty.Value) any {
	switch t := v.Type(); {
	case v.IsNull() || !v.IsKnown():
		return nil
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		f := v.AsBigFloat()
		if i, accuracy := f.Int64(); accuracy == big.Exact {
			return i
		}
		x, _ := f.Float64() // the nearest is what JSON would have, too
		return x
	case t.IsMapType(), t.IsObjectType():
		m := make(map[string]any, v.LengthInt())
		for name, e := range v.AsValueMap() {
			m[name] = plain(e)
		}
		return m
	case v.CanIterateElements():
		list := make([]any, 0, v.LengthInt())
		for _, e := range v.AsValueSlice() {
			list = append(list, plain(e))
		}
		return list
	}
	return nil
}
