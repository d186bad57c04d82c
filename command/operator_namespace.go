package command

import (
	"flag"
	"fmt"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"
)

// printNamespaces prints namespaces as the hubs see them, in the form that all
// commands of 'operator namespace' share.
func (m *Meta) printNamespaces(all ...client.NamespaceInfo) error {
	l := m.newList("NAMESPACE", "OWNER", "EPOCH", "HUBS", "ACKS", "LSN")
	for _, ns := range all {
		if err := l.add(ns, ns.Name, dash(ns.Owner), number(ns.Epoch), dash(strings.Join(ns.Hubs, ",")), ns.Acks, number(ns.LSN)); err != nil {
			return err
		}
	}
	return l.close(nil)
}

// namespaceFlags are the settings of a namespace that rule all nodes.
type namespaceFlags struct {
	acks     string
	hubs     commaList
	relayers commaList
	selector labelsFlag
	maxBytes sizeFlag
	rate     sizeFlag
}

func (n *namespaceFlags) define(fs *flag.FlagSet) {
	fs.StringVar(&n.acks, "acks", "", "What a write waits for, as a `level`. This version has local only: its owner's disk.")
	fs.Var(&n.hubs, "hubs", "The `ids` of hubs, with commas between them, that receive it beside its owner; in a pattern * stands for any text.")
	fs.Var(&n.relayers, "relayers", "The `ids` of relayers that receive it, or patterns of them. Once these, -selector or -hubs are set, other nodes may follow it by an assignment only.")
	fs.Var(&n.selector, "selector", "The `labels` of relayers that receive it, as region=eu,tier=store: those that have all of them.")
	fs.Var(&n.maxBytes, "max-bytes", "How much it may have on its owner's disk, as a `size` such as 10GiB; 0: any.")
	fs.Var(&n.rate, "write-bytes-per-second", "How much may be written to it a second, as a `size` such as 20MiB; 0: any.")
}

func (n *namespaceFlags) settings() client.NamespaceSettings {
	return client.NamespaceSettings{
		Acks: n.acks, Hubs: n.hubs, Relayers: n.relayers, Selector: n.selector,
		MaxBytes: n.maxBytes.bytes, WriteBytesPerSecond: n.rate.bytes,
	}
}

// given says whether any of them was.
func (n *namespaceFlags) given() bool {
	s := n.settings()
	return s.Acks != "" || s.Hubs != nil || s.Relayers != nil || s.Selector != nil || s.MaxBytes != nil || s.WriteBytesPerSecond != nil
}

// namespaceDetails prints what a table has no room for.
func (m *Meta) namespaceDetails(ns client.NamespaceInfo) error {
	pairs := []string{"Lineage", dash(ns.Lineage), "Term", number(ns.Term), "State", dash(ns.State)}
	if ns.Reason != "" {
		pairs = append(pairs, "Reason", ns.Reason)
	}
	if ns.Via != "" {
		pairs = append(pairs, "Via hub", ns.Via)
	}
	if r := ns.Replicate; r != nil {
		pairs = append(pairs, "Relayers", dash(strings.Join(r.Relayers, ",")), "Selector", dash(formatLabels(r.Selector)), "Hub patterns", dash(strings.Join(r.Hubs, ",")))
	}
	if q := ns.Quota; q != nil {
		pairs = append(pairs, "Quota", fmt.Sprintf("%s, %s a second", bound(q.MaxBytes), bound(q.WriteBytesPerSecond)))
	}
	if err := m.print([]byte("\n")); err != nil {
		return err
	}
	return m.properties(pairs...)
}

func bound(bytes int64) string {
	if bytes == 0 {
		return "any size"
	}
	return formatBytes(bytes)
}
