package command

import (
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
