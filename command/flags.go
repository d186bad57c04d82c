package command

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// parse reads flags wherever they stand between the arguments, with one dash or
// two, as -flag=value or -flag value, and returns the arguments. What follows
// "--" is an argument whatever it looks like, and so is "-".
func parse(fs *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			return append(rest, args...), nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		f := fs.Lookup(name)
		switch {
		case f == nil:
			return nil, usagef("unknown flag %s%s", strings.TrimSuffix(arg, "="+value), flagHint(fs, arg, name))
		case !hasValue && isSwitch(f):
			value = "true"
		case !hasValue && len(args) == 0:
			return nil, usagef("-%s needs a value: -%s=%s", name, name, placeholder(f))
		case !hasValue:
			value, args = args[0], args[1:]
		}
		if err := f.Value.Set(value); err != nil {
			return nil, usagef("-%s=%s: %v", name, value, plainFlagError(err))
		}
	}
	return rest, nil
}

// flagHint says what to do about a flag that isn't there.
func flagHint(fs *flag.FlagSet, arg, name string) string {
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf(": did you mean -%s?", near)
	}
	return fmt.Sprintf(": if it is an argument, put -- before it, as in '-- %s'", arg)
}

// plainFlagError puts flag's terse errors into words.
func plainFlagError(err error) string {
	if err.Error() == "parse error" {
		return "not a value that this flag takes"
	}
	return err.Error()
}

func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// placeholder names a flag's value in help: the word in back quotes of its usage.
func placeholder(f *flag.Flag) string {
	name, _ := flag.UnquoteUsage(f)
	return strings.ToUpper(name)
}

// describeFlags lists the flags for help: the command's own first, then those of
// the connection, which every client command has.
func describeFlags(b *strings.Builder, fs *flag.FlagSet) {
	var own, connection []*flag.Flag
	fs.VisitAll(func(f *flag.Flag) {
		if slices.Contains(connectionFlags, f.Name) {
			connection = append(connection, f)
		} else {
			own = append(own, f)
		}
	})
	describeFlagSection(b, "Options", own)
	describeFlagSection(b, "Connection", connection)
}

func describeFlagSection(b *strings.Builder, title string, flags []*flag.Flag) {
	if len(flags) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n\n", title)
	for _, f := range flags {
		_, usage := flag.UnquoteUsage(f)
		if isSwitch(f) {
			fmt.Fprintf(b, "  -%s\n", f.Name)
		} else {
			fmt.Fprintf(b, "  -%s=%s\n", f.Name, placeholder(f))
		}
		b.WriteString(wrap(usage, "      ") + "\n")
	}
}

// stringList is a flag that may be repeated.
type stringList []string

func (l *stringList) String() string { return strings.Join(*l, ",") }

func (l *stringList) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// wrap breaks text into lines that fit a terminal.
func wrap(text, indent string) string {
	const width = 80
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := indent
		for word := range strings.FieldsSeq(paragraph) {
			if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				lines = append(lines, line)
				line = indent
			}
			if line != indent {
				line += " "
			}
			line += word
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.Join(lines, "\n")
}
