package command

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

type statusCommand struct {
	*Meta
}

func (c *statusCommand) spec() spec {
	return spec{
		synopsis: "Show the state of a node",
		about: "Shows the node's role and version, and for each of its namespaces its state, the LSNs of the last record appended, durable, committed and in the B+tree, and how far it is behind; " +
			"then who follows the node, what it has set aside, and how its plugins do. " +
			"With -namespace only that namespace is shown; it is an error where the node hasn't got it.",
		examples: []string{
			"unisondb status",
			"unisondb status -address=http://edge-17:4000 -json",
		},
	}
}

func (c *statusCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
}

func (c *statusCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	s, err := node.Status(ctx)
	if err != nil {
		return err
	}
	namespaces, err := c.chosen(s.Namespaces)
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printStatusJSON(s)
	}
	if err := c.properties("Node", s.NodeID, "Address", node.Address(), "Role", s.Role, "Version", s.Version); err != nil {
		return err
	}
	if err := c.print([]byte("\n")); err != nil {
		return err
	}
	for _, part := range []func() error{
		func() error { return c.table(namespaces) },
		func() error { return c.notes(namespaces) },
		func() error { return c.followers(namespaces) },
		func() error { return c.aside(s.Aside) },
		func() error { return c.certificates(s.Certificates) },
		func() error { return c.plugins(s.Plugins) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// chosen is what -namespace asks for. The environment, which every command
// shares, doesn't narrow the status of a node.
func (c *statusCommand) chosen(all []client.NamespaceStatus) ([]client.NamespaceStatus, error) {
	name := c.connection.Namespace
	if name == "" {
		return all, nil
	}
	for _, ns := range all {
		if ns.Name == name {
			return []client.NamespaceStatus{ns}, nil
		}
	}
	return nil, localf("the node has no namespace %q: leave -namespace out to see those that it has", name)
}

// printStatusJSON prints what the node answered, with fields that this version
// doesn't know.
func (c *statusCommand) printStatusJSON(s client.Status) error {
	raw := []byte(s.Raw)
	if name := c.connection.Namespace; name != "" {
		var err error
		if raw, err = onlyNamespace(raw, name); err != nil {
			return localf("read the status: %w", err)
		}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return localf("read the status: %w", err)
	}
	b.WriteByte('\n')
	return c.print(b.Bytes())
}

// onlyNamespace leaves one namespace in a status.
func onlyNamespace(raw []byte, name string) ([]byte, error) {
	var status map[string]json.RawMessage
	if err := json.Unmarshal(raw, &status); err != nil {
		return nil, err
	}
	var all, kept []json.RawMessage
	if err := json.Unmarshal(status["namespaces"], &all); err != nil {
		return nil, err
	}
	for _, ns := range all {
		var head struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(ns, &head); err != nil {
			return nil, err
		}
		if head.Name == name {
			kept = append(kept, ns)
		}
	}
	namespaces, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	status["namespaces"] = namespaces
	return json.Marshal(status)
}

func (c *statusCommand) table(namespaces []client.NamespaceStatus) error {
	l := c.newList("NAMESPACE", "ROLE", "OWNER", "STATE", "LSN", "DURABLE", "COMMIT", "CHECKPOINT", "LAG")
	for _, ns := range namespaces {
		err := l.add(nil, ns.Name, ns.Role, dash(ns.Owner), ns.State,
			number(ns.LSN), number(ns.DurableLSN), number(ns.CommitLSN), number(ns.CheckpointLSN), lag(ns))
		if err != nil {
			return err
		}
	}
	return l.close(nil)
}

// notes says what somebody should know of each namespace, a paragraph for each.
func (c *statusCommand) notes(namespaces []client.NamespaceStatus) error {
	var b bytes.Buffer
	for _, ns := range namespaces {
		if ns.Code != "" {
			fmt.Fprintf(&b, "\n%s is %s (%s): %s\n", ns.Name, ns.State, ns.Code, ns.Reason)
		}
		if ns.Snapshot != nil {
			fmt.Fprintf(&b, "\n%s receives a snapshot: %s\n", ns.Name, progressOf(*ns.Snapshot))
		}
		if ns.Forks > 0 {
			fmt.Fprintf(&b, "\n%s had another history than its source, %s since the start; the last time: %s\n", ns.Name, count(int(ns.Forks), "time"), ns.LastFork)
		}
		if ns.Accepted != "" {
			fmt.Fprintf(&b, "\n%s is to become lineage %s, as soon as its upstream has that.\n", ns.Name, ns.Accepted)
		}
		if ns.Integrity != nil && ns.Integrity.Damaged {
			fmt.Fprintf(&b, "\n%s is damaged: %s\n", ns.Name, damageOf(ns.Integrity))
		}
		if ns.Compared != nil && ns.Compared.LastError != "" {
			fmt.Fprintf(&b, "\n%s couldn't be repaired from its source: %s\n", ns.Name, ns.Compared.LastError)
		}
	}
	return c.print(b.Bytes())
}

// progressOf says how far a snapshot has arrived.
func progressOf(s client.Snapshot) string {
	switch {
	case s.Complete && s.TargetLSN > 0:
		return fmt.Sprintf("%s are here, the log behind them up to LSN %d of %d", formatBytes(int64(s.Bytes)), s.LSN, s.TargetLSN)
	case s.Total > 0:
		return fmt.Sprintf("%s of about %s", formatBytes(int64(s.Bytes)), formatBytes(int64(max(s.Total, s.Bytes))))
	}
	return formatBytes(int64(s.Bytes))
}

// followers lists who follows the node.
func (c *statusCommand) followers(namespaces []client.NamespaceStatus) error {
	var rows [][]string
	for _, ns := range namespaces {
		for _, f := range ns.Followers {
			lag := number(f.LagRecords) + " records"
			if f.SnapshotBytes != nil {
				lag += ", receives a snapshot: " + formatBytes(int64(*f.SnapshotBytes)) + " sent"
			}
			rows = append(rows, []string{ns.Name, f.NodeID, number(f.DurableLSN), number(f.AppliedLSN), lag})
		}
	}
	return c.section(rows, "NAMESPACE", "FOLLOWER", "DURABLE", "APPLIED", "LAG")
}

// aside lists what was set aside on the node, of the namespaces that are shown.
func (c *statusCommand) aside(all []client.Aside) error {
	var rows [][]string
	for _, a := range all {
		if name := c.connection.Namespace; name != "" && a.Namespace != name {
			continue
		}
		what := "directory"
		if !a.Directory {
			what = fmt.Sprintf("%s, LSN %d to %d", count(int(a.Records), "record"), a.FirstLSN, a.LastLSN)
		}
		rows = append(rows, []string{a.Namespace, what, a.At.UTC().Format(time.RFC3339), a.Path, a.Reason})
	}
	return c.section(rows, "SET ASIDE", "WHAT", "WHEN", "PATH", "REASON")
}

// certificates lists those that the node shows.
func (c *statusCommand) certificates(all []client.Certificate) error {
	var rows [][]string
	for _, cert := range all {
		until := "-"
		if cert.Subject != "" {
			until = formatExpiry(cert.NotAfter)
		}
		rows = append(rows, []string{cert.Block, dash(cert.Subject), until, dash(cert.Problem)})
	}
	return c.section(rows, "CERTIFICATE", "SUBJECT", "VALID UNTIL", "PROBLEM")
}

// plugins lists the notifiers and data models, of the namespaces that are shown.
func (c *statusCommand) plugins(all []client.Plugin) error {
	if name := c.connection.Namespace; name != "" {
		all = pluginsOf(all, name)
	}
	var rows [][]string
	for _, p := range all {
		rows = append(rows, pluginCells(p))
	}
	if err := c.section(rows, pluginColumns...); err != nil {
		return err
	}
	return c.pluginNotes(all)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// lag shows how far a replica is behind.
func lag(ns client.NamespaceStatus) string {
	if ns.LagRecords == nil {
		return "-"
	}
	text := number(*ns.LagRecords) + " records"
	if ns.LagBytes != nil && *ns.LagBytes > 0 {
		text += ", " + formatBytes(int64(*ns.LagBytes))
	}
	if ns.LagSeconds != nil {
		text += fmt.Sprintf(", %.1fs", *ns.LagSeconds)
	}
	if owner := ns.OwnerLag; owner != nil && ns.Hops != nil && *ns.Hops > 1 {
		text += fmt.Sprintf("; behind the owner, %d hops up: %d records, %.1fs", *ns.Hops, owner.Records, owner.Seconds)
	}
	if ns.Connected != nil && !*ns.Connected {
		text += ", disconnected"
	}
	return text
}
