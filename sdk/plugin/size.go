package plugin

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
)

// Size is a number of bytes: "16MiB" or "1GB" in a configuration.
type Size int64

// units are what a size may be written in, the binary ones from small to large.
var units = []struct {
	name  string
	bytes int64
}{
	{"B", 1},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,30}(?:\.[0-9]{1,30})?)(?: ?([A-Za-z]+))?$`)

// ParseSize reads a size: a number, and a unit unless it means bytes.
func ParseSize(s string) (Size, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf(`%q is no size: use a number and a unit, as in "16MiB" or "1GB"`, s)
	}
	n, _ := new(big.Rat).SetString(m[1])
	if m[2] != "" {
		unit := unitBytes(m[2])
		if unit == 0 {
			return 0, fmt.Errorf(`%q has the unknown unit %q: use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB`, s, m[2])
		}
		n.Mul(n, new(big.Rat).SetInt64(unit))
	}
	if !n.IsInt() || !n.Num().IsInt64() {
		return 0, fmt.Errorf("%q is no whole number of bytes that can be counted: use a smaller number or another unit", s)
	}
	return Size(n.Num().Int64()), nil
}

func unitBytes(name string) int64 {
	for _, u := range units {
		if u.name == name {
			return u.bytes
		}
	}
	return 0
}

// String is the size in the largest binary unit that leaves a whole number.
func (s Size) String() string {
	for i := 4; i > 0; i-- {
		if n := int64(s); n >= units[i].bytes && n%units[i].bytes == 0 {
			return strconv.FormatInt(n/units[i].bytes, 10) + units[i].name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
