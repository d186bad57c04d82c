package command

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// staleFlag is of commands that read what the group of hubs agrees on.
type staleFlag struct {
	stale     bool
	staleness client.Staleness
}

func (s *staleFlag) define(fs *flag.FlagSet) {
	fs.BoolVar(&s.stale, "stale", false, "Take what the node itself has, which may be old: it needs no leader. How old is said on standard error.")
}

func (s *staleFlag) options() []client.StateOption {
	if !s.stale {
		return nil
	}
	return []client.StateOption{client.Stale(&s.staleness)}
}

// tell says on standard error how old the state is that was read.
func (s *staleFlag) tell(m *Meta) {
	if !s.stale {
		return
	}
	age := "and has not heard of a leader"
	if s.staleness.Age != nil {
		age = fmt.Sprintf("and heard of the leader %v ago", s.staleness.Age.Round(time.Millisecond))
	}
	m.message("Stale: this is what the node has itself. Its state is that of index %d, %s.", s.staleness.Index, age)
}

// commaList is a flag of several values, with commas between them. One that is given
// as empty isn't nil.
type commaList []string

func (l *commaList) String() string { return strings.Join(*l, ",") }

func (l *commaList) Set(s string) error {
	list, err := parseList(s)
	if err == nil {
		*l = append(emptied(*l), list...)
	}
	return err
}

func emptied(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func parseList(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	list := strings.Split(s, ",")
	for i, item := range list {
		if list[i] = strings.TrimSpace(item); list[i] == "" {
			return nil, fmt.Errorf("%q has nothing between two commas", s)
		}
	}
	return list, nil
}

// labelsFlag is a flag of names with values, as region=eu,tier=store. One that is given as
// empty isn't nil.
type labelsFlag map[string]string

func (l *labelsFlag) String() string { return formatLabels(*l) }

func (l *labelsFlag) Set(s string) error {
	list, err := parseList(s)
	if err != nil {
		return err
	}
	if *l == nil {
		*l = labelsFlag{}
	}
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return fmt.Errorf("%q is no label: write it as key=value", item)
		}
		if before, twice := (*l)[key]; twice && before != value {
			return fmt.Errorf("label %q has two values, %q and %q: give one", key, before, value)
		}
		(*l)[key] = value
	}
	return nil
}

// formatLabels shows labels in the form in which flags take them.
func formatLabels(labels map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key+"="+labels[key])
	}
	return strings.Join(parts, ",")
}

// sizeFlag is a size, as 10GiB. It isn't set where it is nil.
type sizeFlag struct{ bytes *int64 }

func (f *sizeFlag) String() string {
	if f.bytes == nil {
		return ""
	}
	return plugin.Size(*f.bytes).String()
}

func (f *sizeFlag) Set(s string) error {
	size, err := plugin.ParseSize(s)
	if err != nil {
		return err
	}
	bytes := int64(size)
	f.bytes = &bytes
	return nil
}

// behind shows how far a namespace on a node is behind where it comes from.
func behind(ns client.NodeNamespace) string {
	if ns.Role == "owner" || ns.LagRecords == nil {
		return "-"
	}
	text := number(*ns.LagRecords) + " records"
	if ns.LagSeconds != nil {
		text += fmt.Sprintf(", %.1fs", *ns.LagSeconds)
	}
	if !ns.Connected {
		text += ", disconnected"
	}
	return text
}

// stateOf is the state of a namespace on a node, as far as that has told.
func stateOf(ns client.NodeNamespace) string { return cmp.Or(ns.State, "unknown") }

// namespaceNotes says what is wrong with namespaces of a node.
func (m *Meta) namespaceNotes(node string, all []client.NodeNamespace) error {
	for _, ns := range all {
		if ns.Reason == "" {
			continue
		}
		if err := m.print(fmt.Appendf(nil, "\n%s on %s is %s (%s): %s\n", ns.Name, node, stateOf(ns), dash(ns.Code), ns.Reason)); err != nil {
			return err
		}
	}
	return nil
}

// succeeded reports a change, in JSON on standard output, otherwise as a message.
func (m *Meta) succeeded(format string, args ...any) error {
	if m.asJSON {
		return m.printJSON(struct {
			Success bool `json:"success"`
		}{true})
	}
	m.message(format, args...)
	return nil
}
