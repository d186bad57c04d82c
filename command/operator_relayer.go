package command

import (
	"fmt"

	"github.com/unisondb/unisondb/sdk/client"
)

// printRelayers prints relayers in the form that the commands share.
func (m *Meta) printRelayers(all ...client.Relayer) error {
	l := m.newList("RELAYER", "LABELS", "UPSTREAM", "STATE", "NAMESPACES", "LAG")
	for _, r := range all {
		state := connection(r.Connected)
		if r.Draining {
			state += ", draining"
		}
		if err := l.add(r, r.ID, dash(formatLabels(r.Labels)), dash(r.Upstream), state, number(uint64(len(r.Namespaces))), worstLag(r)); err != nil {
			return err
		}
	}
	return l.close(nil)
}

// worstLag is how far that of a relayer's namespaces is behind that is furthest behind.
func worstLag(r client.Relayer) string {
	var records uint64
	var seconds float64
	known := false
	for _, ns := range r.Namespaces {
		if ns.LagRecords != nil {
			records, known = max(records, *ns.LagRecords), true
		}
		if ns.LagSeconds != nil {
			seconds = max(seconds, *ns.LagSeconds)
		}
	}
	if !known {
		return "-"
	}
	return fmt.Sprintf("%d records, %.1fs", records, seconds)
}
