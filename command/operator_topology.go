package command

import (
	"cmp"
	"context"
	"flag"

	"github.com/unisondb/unisondb/sdk/client"
)

// assignmentFlags say which namespace goes to which relayers.
type assignmentFlags struct {
	relayer  string
	selector labelsFlag
}

func (a *assignmentFlags) define(fs *flag.FlagSet) {
	fs.StringVar(&a.relayer, "relayer", "", "The `id` of the relayer, or a pattern of ids in which * stands for any text.")
	fs.Var(&a.selector, "selector", "The `labels` of the relayers, as region=eu,tier=store: those that have all of them.")
}

// assignment reads the flags. The namespace has to be named: nobody means the default one
// without a word.
func (m *Meta) assignment(a *assignmentFlags) (client.Assignment, error) {
	out := client.Assignment{
		Namespace: cmp.Or(m.connection.Namespace, m.getenv(envNamespace)),
		Relayer:   a.relayer, Selector: a.selector,
	}
	switch {
	case out.Namespace == "":
		return out, usagef("-namespace is missing: name the namespace")
	case (a.relayer == "") == (len(a.selector) == 0):
		return out, usagef("give either -relayer=ID or -selector=key=value")
	}
	return out, nil
}

// changeAssignment is what assign and unassign do.
func (m *Meta) changeAssignment(ctx context.Context, a *assignmentFlags, change func(*client.Client, context.Context, client.Assignment) (client.Topology, error), done string) error {
	assignment, err := m.assignment(a)
	if err != nil {
		return err
	}
	node, err := m.client()
	if err != nil {
		return err
	}
	t, err := change(node, ctx, assignment)
	if err != nil {
		return err
	}
	if m.asJSON {
		return m.printJSON(t)
	}
	m.message(done, assignment.Namespace, receivers(assignment))
	return nil
}

// receivers are the relayers of an assignment, for people.
func receivers(a client.Assignment) string {
	if a.Relayer != "" {
		return "relayer " + a.Relayer
	}
	return "relayers with " + formatLabels(a.Selector)
}
