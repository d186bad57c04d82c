package command

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/unisondb/unisondb/sdk/client"
)

type operatorVerifyCommand struct {
	*Meta
	with  string
	wait  time.Duration
	scrub bool
}

func (c *operatorVerifyCommand) spec() spec {
	return spec{
		synopsis: "Compare a namespace on two nodes",
		about: "Compares the namespace on the node of -address with that on the node of -with, by the digests of 1,024 parts of its data at one record of the log, a mark, that both have reached. " +
			"Where one of the two owns the namespace and the command runs on its machine, the owner is asked for a new mark; otherwise they are compared at the newest that both have. " +
			"The digests are those that the nodes keep as they apply the log: -scrub lets them read their files first, which finds damage on the disk. The exit status is 1 where the nodes differ or damage is known.",
		examples: []string{
			"unisondb operator verify -namespace=orders -with=http://edge-17:4000",
			"unisondb operator verify -address=http://hub:4000 -with=http://edge:4000",
		},
	}
}

func (c *operatorVerifyCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.StringVar(&c.with, "with", "", "The `url` of the other node's HTTP listener.")
	fs.DurationVar(&c.wait, "wait", time.Minute, "How long to wait for both nodes to reach the mark, as a `duration`. Default: 1m.")
	fs.BoolVar(&c.scrub, "scrub", false, "Let both nodes look for damage in their files first.")
}

// verifiedNode is one of the two nodes that are compared.
type verifiedNode struct {
	NodeID    string           `json:"node_id"`
	Address   string           `json:"address"`
	Role      string           `json:"role"`
	Digest    string           `json:"digest"`
	Integrity client.Integrity `json:"integrity"`

	node    *client.Client
	lineage string
	digests client.Digests
}

// verification is the outcome. Damage may be known although the nodes agree on
// what they should have.
type verification struct {
	Namespace string          `json:"namespace"`
	Lineage   string          `json:"lineage"`
	Epoch     uint64          `json:"epoch"` // of the mark
	LSN       uint64          `json:"lsn"`   // of the mark
	Equal     bool            `json:"equal"`
	Nodes     []*verifiedNode `json:"nodes"`
	Ranges    []rangePair     `json:"ranges"` // those that differ
}

// rangePair is a range of the digests that differs, with both nodes' digests.
type rangePair struct {
	Range   int       `json:"range"`
	Digests [2]string `json:"digests"`
}

func (c *operatorVerifyCommand) run(ctx context.Context, _ []string) error {
	nodes, err := c.nodes(ctx)
	if err != nil {
		return err
	}
	if c.scrub {
		if err := each(nodes, func(n *verifiedNode) error { return n.scrub(ctx) }); err != nil {
			return err
		}
	}
	mark, err := c.mark(ctx, nodes)
	if err != nil {
		return err
	}
	if err := each(nodes, func(n *verifiedNode) error { return n.fetch(ctx, mark, c.wait) }); err != nil {
		return err
	}
	v, err := compare(nodes)
	if err != nil {
		return err
	}
	if err := c.report(v); err != nil {
		return err
	}
	if !v.Equal || nodes[0].Integrity.Damaged || nodes[1].Integrity.Damaged {
		return &silentError{}
	}
	return nil
}

// each runs f for both nodes at once, and answers an error with the node that it is of.
func each(nodes []*verifiedNode, f func(*verifiedNode) error) error {
	var group errgroup.Group
	for _, n := range nodes {
		group.Go(func() error {
			err := f(n)
			if errors.Is(err, client.ErrUnreachable) {
				return localf("%s can't be reached: %w; is the node running?", n.Address, err)
			}
			if err != nil {
				return fmt.Errorf("node %s: %w", cmp.Or(n.NodeID, n.Address), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// nodes asks both nodes who they are and what they have.
func (c *operatorVerifyCommand) nodes(ctx context.Context) ([]*verifiedNode, error) {
	if c.with == "" {
		return nil, usagef("-with is missing: give the URL of the node to compare with")
	}
	a, err := c.client()
	if err != nil {
		return nil, err
	}
	b, err := c.clientOf(c.with)
	if err != nil {
		return nil, err
	}
	nodes := []*verifiedNode{{node: a, Address: a.Address()}, {node: b, Address: b.Address()}}
	if err := each(nodes, func(n *verifiedNode) error { return n.introduce(ctx) }); err != nil {
		return nil, err
	}
	if nodes[0].lineage != nodes[1].lineage {
		return nil, localf("nothing can be compared: %q has lineage %s on %s and %s on %s, so these are two namespaces of one name; "+
			"where one was made anew, the other takes it by '%s operator namespace accept'",
			a.Namespace(), nodes[0].lineage, nodes[0].NodeID, nodes[1].lineage, nodes[1].NodeID, Name)
	}
	return nodes, nil
}

func (n *verifiedNode) introduce(ctx context.Context) error {
	s, err := n.node.Status(ctx)
	if err != nil {
		return err
	}
	n.NodeID = s.NodeID
	for _, ns := range s.Namespaces {
		switch {
		case ns.Name != n.node.Namespace():
		case ns.Lineage == "":
			return localf("namespace %q is %s (%s): %s", ns.Name, ns.State, ns.Code, ns.Reason)
		default:
			n.Role, n.lineage = ns.Role, ns.Lineage
			return nil
		}
	}
	return localf("it has no namespace %q: '%s status' lists those that it has", n.node.Namespace(), Name)
}

func (n *verifiedNode) scrub(ctx context.Context) error {
	_, err := n.node.Scrub(ctx)
	return err
}

func (n *verifiedNode) fetch(ctx context.Context, mark uint64, wait time.Duration) (err error) {
	if n.digests, err = n.node.Digests(ctx, mark, wait); err != nil {
		return err
	}
	n.Digest, n.Integrity = n.digests.Digest, n.digests.Integrity
	return nil
}

// mark is the LSN of the mark to compare at: a new one where the owner writes one
// for this command, otherwise the newest that both nodes have.
func (c *operatorVerifyCommand) mark(ctx context.Context, nodes []*verifiedNode) (uint64, error) {
	for _, n := range nodes {
		if n.Role != "owner" {
			continue
		}
		p, err := n.node.WriteMark(ctx)
		if err == nil {
			return p.LSN, nil
		}
		if !errors.Is(err, client.ErrForbidden) && !errors.Is(err, client.ErrUnavailable) {
			return 0, err
		}
		c.message("Node %s writes no mark now (%v); the newest one that both nodes have is used.", n.NodeID, err)
	}
	return newestCommonMark(ctx, nodes)
}

func newestCommonMark(ctx context.Context, nodes []*verifiedNode) (uint64, error) {
	a, err := nodes[0].node.Marks(ctx)
	if err != nil {
		return 0, err
	}
	b, err := nodes[1].node.Marks(ctx)
	if err != nil {
		return 0, err
	}
	for _, m := range a.Marks {
		for _, other := range b.Marks {
			if m.LSN == other.LSN && m.Epoch == other.Epoch {
				return m.LSN, nil
			}
		}
	}
	return 0, localf("the nodes share no mark that both have digests of: let the one that is behind catch up, or run this on the owner's machine, which then writes a mark")
}

// compare holds the digests of two nodes against each other.
func compare(nodes []*verifiedNode) (*verification, error) {
	a, b := nodes[0].digests, nodes[1].digests
	switch {
	case a.Lineage != b.Lineage || a.Epoch != b.Epoch:
		return nil, localf("the nodes' histories differ: LSN %d is of epoch %d of lineage %s on %s, and of epoch %d of lineage %s on %s; their status says more",
			a.LSN, a.Epoch, a.Lineage, nodes[0].NodeID, b.Epoch, b.Lineage, nodes[1].NodeID)
	case len(a.Ranges) != len(b.Ranges):
		return nil, localf("the nodes divide their data into %d and %d ranges: compare nodes of the same version", len(a.Ranges), len(b.Ranges))
	}
	v := &verification{
		Namespace: nodes[0].node.Namespace(), Lineage: a.Lineage, Epoch: a.Epoch, LSN: a.LSN,
		Nodes: nodes, Ranges: []rangePair{},
	}
	for i := range a.Ranges {
		if a.Ranges[i] != b.Ranges[i] {
			v.Ranges = append(v.Ranges, rangePair{i, [2]string{a.Ranges[i], b.Ranges[i]}})
		}
	}
	v.Equal = len(v.Ranges) == 0
	return v, nil
}

func (c *operatorVerifyCommand) report(v *verification) error {
	if c.asJSON {
		return c.printJSON(v)
	}
	result := "equal"
	if !v.Equal {
		result = fmt.Sprintf("%d of %d ranges differ", len(v.Ranges), len(v.Nodes[0].digests.Ranges))
	}
	err := c.properties("Namespace", v.Namespace, "Lineage", v.Lineage, "Mark", fmt.Sprintf("LSN %d of epoch %d", v.LSN, v.Epoch),
		"Node", v.Nodes[0].describe(), "With", v.Nodes[1].describe(), "Result", result)
	if err != nil || v.Equal {
		return err
	}
	if err := c.print([]byte("\n")); err != nil {
		return err
	}
	l := c.newList("RANGE", v.Nodes[0].NodeID, v.Nodes[1].NodeID)
	for _, r := range v.Ranges {
		if err := l.add(nil, number(uint64(r.Range)), r.Digests[0], r.Digests[1]); err != nil {
			return err
		}
	}
	return l.close(nil)
}

// describe is a node on one line, with the damage that it knows of.
func (n *verifiedNode) describe() string {
	text := fmt.Sprintf("%s, %s, %s", n.NodeID, n.Role, n.Address)
	if damage := damageOf(&n.Integrity); damage != "" {
		text += "; damaged: " + damage
	}
	return text
}

// damageOf says what is known to be wrong with a namespace; empty: nothing.
func damageOf(i *client.Integrity) string {
	var parts []string
	if i.DamagedCells > 0 {
		parts = append(parts, count(int(i.DamagedCells), "stored value"))
	}
	if len(i.BadRanges) > 0 {
		parts = append(parts, count(len(i.BadRanges), "range")+" of 1024")
	}
	if i.LogDamagedLSN > 0 {
		parts = append(parts, fmt.Sprintf("the log from LSN %d on", i.LogDamagedLSN))
	}
	if i.TreeDamage != "" {
		parts = append(parts, "the B+tree ("+i.TreeDamage+")")
	}
	if d := i.Diverged; d != nil {
		parts = append(parts, fmt.Sprintf("%s not the source's at LSN %d", count(len(d.Ranges), "range"), d.Mark))
	}
	return strings.Join(parts, ", ")
}
