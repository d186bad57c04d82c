package command

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strconv"

	"github.com/unisondb/unisondb/sdk/client"
)

type statusCommand struct {
	*Meta
}

func (c *statusCommand) spec() spec {
	return spec{
		synopsis: "Show the state of a node",
		about: "Shows the node's role and version, and for each of its namespaces its state, and the LSNs of the last record appended, durable, committed and in the B+tree. " +
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
	return c.table(namespaces)
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
	if err := l.close(nil); err != nil {
		return err
	}
	for _, ns := range namespaces {
		if ns.Code == "" {
			continue
		}
		if err := c.print(fmt.Appendf(nil, "\n%s is %s (%s): %s\n", ns.Name, ns.State, ns.Code, ns.Reason)); err != nil {
			return err
		}
	}
	return nil
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
	if ns.LagSeconds != nil {
		text += fmt.Sprintf(", %.1fs", *ns.LagSeconds)
	}
	if ns.Connected != nil && !*ns.Connected {
		text += ", disconnected"
	}
	return text
}
