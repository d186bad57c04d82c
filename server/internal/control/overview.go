package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// Peers reaches other hubs.
type Peers interface {
	// Hubs is a client of the hub with a gRPC address. It waits for no connection.
	Hubs(address string) (dbv1.HubsClient, error)
}

// ObserveTimeout is how long another hub may take to say what it sees.
const ObserveTimeout = 2 * time.Second

// ViewerOptions configure a Viewer. All fields but Timeout are required.
type ViewerOptions struct {
	NodeID string // of this hub
	Group  Group
	Peers  Peers
	// Observe says what this hub sees of what is asked for.
	Observe func(ctx context.Context, r *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error)
	Timeout time.Duration // ObserveTimeout
}

// Viewer puts together what the group agrees on and what its hubs see.
type Viewer struct{ o ViewerOptions }

// NewViewer makes a viewer. It keeps nothing from one call to the next.
func NewViewer(o ViewerOptions) *Viewer {
	if o.Timeout <= 0 {
		o.Timeout = ObserveTimeout
	}
	return &Viewer{o}
}

// Overview is what the hubs see at one moment, beside what they agree on.
type Overview struct {
	State    *topology.State
	Hubs     map[string]*HubView // those of State, by id
	Sessions map[string]Session  // of relayers that attend a hub, by the relayer's id
	// Members is how the leader sees the members, by id; empty where no leader answered.
	Members map[string]*dbv1.MemberHealth
	Leader  string // the hub that Members is from
}

// HubView is what one hub says.
type HubView struct {
	// Problem says why the hub said nothing; empty: it did.
	Problem      string
	AppliedIndex uint64                           // of its state
	Namespaces   map[string]*dbv1.NamespaceReport // that it has, by name
}

// Session is a relayer's session with a hub, as that hub says.
type Session struct {
	Hub string // node id
	*dbv1.RelayerSession
	Namespaces map[string]*dbv1.NamespaceReport // by name
}

// Query is what an overview is to be of.
type Query struct {
	// Stale takes this hub's state, which needs nobody; otherwise it is as new as the call, for
	// which the group needs a leader.
	Stale bool
	// Namespace leaves out what hubs and relayers say of all others; empty: all is wanted.
	Namespace string
}

// Overview asks all hubs at once. Hubs that don't answer in time are no error: their
// view says why.
func (v *Viewer) Overview(ctx context.Context, q Query) (*Overview, error) {
	s := v.o.Group.State()
	if !q.Stale {
		var err error
		if s, err = v.o.Group.Sync(ctx); err != nil {
			return nil, err
		}
	}
	o := &Overview{State: s, Hubs: map[string]*HubView{}, Sessions: map[string]Session{}, Members: map[string]*dbv1.MemberHealth{}}
	type answer struct {
		hub  string
		seen *dbv1.ObserveResponse
		err  error
	}
	answers := make(chan answer, len(s.Hubs))
	var asking sync.WaitGroup
	for _, hub := range s.Hubs {
		asking.Go(func() {
			seen, err := v.observe(ctx, hub, &dbv1.ObserveRequest{Namespace: q.Namespace})
			answers <- answer{hub.ID, seen, err}
		})
	}
	asking.Wait()
	close(answers)
	for a := range answers {
		o.add(a.hub, a.seen, a.err)
	}
	return o, ctx.Err()
}

// observe asks one hub.
func (v *Viewer) observe(ctx context.Context, hub *topology.Hub, r *dbv1.ObserveRequest) (*dbv1.ObserveResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, v.o.Timeout)
	defer cancel()
	if hub.ID == v.o.NodeID {
		return v.o.Observe(ctx, r)
	}
	if hub.GRPC == "" {
		return nil, errors.New("it has no grpc listener that others can reach: set advertise in it")
	}
	client, err := v.o.Peers.Hubs(hub.GRPC)
	if err != nil {
		return nil, err
	}
	seen, err := client.Observe(ctx, r)
	switch {
	case err != nil:
		return nil, v.unanswered(ctx, hub, err)
	case seen.GetNodeId() != hub.ID:
		return nil, fmt.Errorf("hub %q answers at its address %s: correct the advertise of one of them", clip(seen.GetNodeId(), maxReasonLen), hub.GRPC)
	}
	return seen, nil
}

func (v *Viewer) unanswered(ctx context.Context, hub *topology.Hub, err error) error {
	st := status.Convert(err)
	switch {
	case st.Code() == codes.Unimplemented:
		return errors.New("its version can't say what it sees: upgrade it")
	case ctx.Err() != nil || st.Code() == codes.DeadlineExceeded:
		return fmt.Errorf("no answer from %s within %v", hub.GRPC, v.o.Timeout)
	}
	return fmt.Errorf("no answer from %s: %s", hub.GRPC, clip(st.Message(), maxReasonLen))
}

// add puts in what a hub said.
func (o *Overview) add(hub string, seen *dbv1.ObserveResponse, err error) {
	view := &HubView{AppliedIndex: seen.GetAppliedIndex(), Namespaces: byName(seen.GetNamespaces())}
	o.Hubs[hub] = view
	if err != nil {
		view.Problem = err.Error()
		return
	}
	for _, s := range seen.GetRelayers() {
		// One that has just changed its hub may be seen by both: the later session is it.
		if before, ok := o.Sessions[s.GetNodeId()]; ok && before.GetSinceUnixMs() >= s.GetSinceUnixMs() {
			continue
		}
		o.Sessions[s.GetNodeId()] = Session{Hub: hub, RelayerSession: s, Namespaces: byName(s.GetNamespaces())}
	}
	if members := seen.GetMembers(); len(members) > 0 {
		o.Leader = hub
		for _, m := range members {
			o.Members[m.GetId()] = m
		}
	}
}

func byName(reports []*dbv1.NamespaceReport) map[string]*dbv1.NamespaceReport {
	m := make(map[string]*dbv1.NamespaceReport, len(reports))
	for _, r := range reports {
		m[r.GetName()] = r
	}
	return m
}

// Silent are the hubs that didn't answer, sorted.
func (o *Overview) Silent() []string {
	var silent []string
	for id, hub := range o.Hubs {
		if hub.Problem != "" {
			silent = append(silent, id)
		}
	}
	slices.Sort(silent)
	return silent
}

// OnNode is what a node says of a namespace that it has; nil: nothing was heard of it.
func (o *Overview) OnNode(n topology.Node, namespace string) *dbv1.NamespaceReport {
	if n.Kind == topology.KindRelayer {
		return o.Sessions[n.ID].Namespaces[namespace]
	}
	if hub := o.Hubs[n.ID]; hub != nil {
		return hub.Namespaces[namespace]
	}
	return nil
}

// OfOwner is what the owner of a namespace says of it, whose LSN is the namespace's; nil:
// nothing was heard of it.
func (o *Overview) OfOwner(namespace string) *dbv1.NamespaceReport {
	ns := o.State.Namespaces[namespace]
	if ns == nil {
		return nil
	}
	return o.OnNode(ns.Owner, namespace)
}
