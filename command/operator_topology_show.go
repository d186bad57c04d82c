package command

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorTopologyShowCommand struct {
	*Meta
	staleFlag
}

func (c *operatorTopologyShowCommand) spec() spec {
	return spec{
		synopsis: "Draw who has what and how far it is",
		about: "Draws the hubs of the group, the relayers below the node that they follow, and the namespaces of each with their LSN and how far they are behind the node that they are streamed from; then the assignments. " +
			"What hubs and relayers do is as new as their last word: one that can't be reached is shown as such.",
		examples: []string{
			"unisondb operator topology show",
			"unisondb operator topology show -stale -json",
		},
	}
}

func (c *operatorTopologyShowCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.staleFlag.define(fs)
}

func (c *operatorTopologyShowCommand) run(ctx context.Context, _ []string) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	t, err := node.Topology(ctx, c.options()...)
	if err != nil {
		return err
	}
	c.tell(c.Meta)
	if c.asJSON {
		return c.printJSON(t)
	}
	return c.draw(t)
}

func (c *operatorTopologyShowCommand) draw(t client.Topology) error {
	if err := c.properties("Group", t.Cluster, "State", "index "+number(t.Index)); err != nil {
		return err
	}
	if err := c.print([]byte("\n" + aligned(newTree(t).rows()))); err != nil {
		return err
	}
	var rows [][]string
	for _, a := range t.Assignments {
		rows = append(rows, []string{a.Namespace, receivers(a)})
	}
	if err := c.section(rows, "ASSIGNED", "TO"); err != nil {
		return err
	}
	return c.notes(t)
}

// notes says of each node and namespace that isn't well what is wrong.
func (c *operatorTopologyShowCommand) notes(t client.Topology) error {
	for _, h := range t.Hubs {
		if h.Problem != "" {
			if err := c.print(fmt.Appendf(nil, "\n%s: %s\n", h.ID, h.Problem)); err != nil {
				return err
			}
		}
		if err := c.namespaceNotes(h.ID, h.Namespaces); err != nil {
			return err
		}
	}
	for _, r := range t.Relayers {
		if err := c.namespaceNotes(r.ID, r.Namespaces); err != nil {
			return err
		}
	}
	return nil
}

// tree draws nodes below those that they follow.
type tree struct {
	topology client.Topology
	below    map[string][]client.Relayer // by the id of the node that they follow
	drawn    map[string]bool             // relayers, by id
	lines    [][]string
}

func newTree(t client.Topology) *tree {
	d := &tree{topology: t, below: map[string][]client.Relayer{}, drawn: map[string]bool{}}
	for _, r := range t.Relayers {
		d.below[r.Upstream] = append(d.below[r.Upstream], r)
	}
	return d
}

// rows are the lines of the whole tree. Every node is in it once, whatever it follows.
func (d *tree) rows() [][]string {
	d.line("NODE", "ROLE", "STATE", "LSN", "LAG", "FROM")
	for _, h := range d.topology.Hubs {
		d.line(h.ID, hubRole(h), connection(h.Connected))
		d.children("", h.Namespaces, d.below[h.ID])
	}
	for _, r := range d.topology.Relayers {
		if d.drawn[r.ID] || d.followed(r) {
			continue
		}
		d.relayer("", "", r)
	}
	for _, r := range d.topology.Relayers { // of a ring, which nothing hangs on
		if !d.drawn[r.ID] {
			d.relayer("", "", r)
		}
	}
	return d.lines
}

// followed says whether a relayer is drawn below another one.
func (d *tree) followed(r client.Relayer) bool {
	return r.Upstream != "" && slices.ContainsFunc(d.topology.Relayers, func(other client.Relayer) bool { return other.ID == r.Upstream })
}

// relayer draws a relayer, begun by branch, with what is below it, begun by indent.
func (d *tree) relayer(branch, indent string, r client.Relayer) {
	d.drawn[r.ID] = true
	name := r.ID
	if len(r.Labels) > 0 {
		name += " (" + formatLabels(r.Labels) + ")"
	}
	state := connection(r.Connected)
	if r.Draining {
		state += ", draining"
	}
	d.line(branch+name, "relayer", state)
	d.children(indent, r.Namespaces, d.below[r.ID])
}

func (d *tree) children(indent string, namespaces []client.NodeNamespace, relayers []client.Relayer) {
	relayers = slices.DeleteFunc(slices.Clone(relayers), func(r client.Relayer) bool { return d.drawn[r.ID] })
	for i, ns := range namespaces {
		branch, _ := branches(i == len(namespaces)-1 && len(relayers) == 0)
		d.line(indent+branch+ns.Name, cmp.Or(ns.Role, "replica"), stateOf(ns), number(ns.LSN), behind(ns), ns.Upstream)
	}
	for i, r := range relayers {
		branch, below := branches(i == len(relayers)-1)
		d.relayer(indent+branch, indent+below, r)
	}
}

// branches are what the line of a child begins with, and those of what is below it.
func branches(last bool) (branch, below string) {
	if last {
		return "└─ ", "   "
	}
	return "├─ ", "│  "
}

func (d *tree) line(cells ...string) { d.lines = append(d.lines, cells) }

// aligned puts the cells of all lines below each other, also past lines that end early, at
// which a table begins anew.
func aligned(lines [][]string) string {
	var widths []int
	for _, cells := range lines {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, cells := range lines {
		var line strings.Builder
		for i, cell := range cells {
			line.WriteString(cell + strings.Repeat(" ", widths[i]+2-utf8.RuneCountInString(cell)))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

func hubRole(h client.Hub) string {
	switch {
	case h.Leader:
		return "hub, leader"
	case !h.Voter:
		return "hub, nonvoter"
	}
	return "hub"
}

func connection(connected bool) string {
	if connected {
		return "connected"
	}
	return "disconnected"
}
