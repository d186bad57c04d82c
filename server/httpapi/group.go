package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/topology"
)

// HeaderStale says on an answer how old the state is that it was made from.
const HeaderStale = "X-Unisondb-Stale"

// groupPatience is how long a request waits for the group of hubs.
const groupPatience = 15 * time.Second

// Group is what the door needs of the group of hubs, as *topology.Group has it. All
// methods may be called concurrently.
type Group interface {
	State() *topology.State
	Watch(ctx context.Context, after uint64) (*topology.State, error)
	Freshness() topology.Freshness
	Sync(ctx context.Context) (*topology.State, error)
	Propose(ctx context.Context, c topology.Command) (index uint64, err error)
	Members(ctx context.Context) ([]topology.Member, error)
	RemovePeer(ctx context.Context, id string) error
	TransferLeader(ctx context.Context, to string) error
	SaveSnapshot(ctx context.Context, w io.Writer) error
	RestoreSnapshot(ctx context.Context, r io.Reader, force bool) error
}

// Viewer knows what the hubs see beside what they agree on, as *control.Viewer has it.
type Viewer interface {
	Overview(ctx context.Context, q control.Query) (*control.Overview, error)
}

// groupErrors is how the group's errors look outside, but for its refusals.
var groupErrors = []knownError{
	{topology.ErrNoLeader, http.StatusServiceUnavailable, CodeNoLeader, time.Second},
	{topology.ErrOutcomeUnknown, http.StatusServiceUnavailable, CodeOutcomeUnknown, 0},
	{topology.ErrStopped, http.StatusServiceUnavailable, CodeShuttingDown, time.Second},
}

// refusalStatus is the status of a refusal of the group, by its code; any other's is 409.
var refusalStatus = map[string]int{
	topology.CodeBadRequest:         http.StatusBadRequest,
	topology.CodeInvalidName:        http.StatusBadRequest,
	topology.CodeNotBuilt:           http.StatusBadRequest,
	topology.CodeDamagedSnapshot:    http.StatusBadRequest,
	topology.CodeTooLarge:           http.StatusRequestEntityTooLarge,
	topology.CodeUnknownHub:         http.StatusNotFound,
	topology.CodeUnknownRelayer:     http.StatusNotFound,
	topology.CodeUnknownNode:        http.StatusNotFound,
	topology.CodeUnknownLabel:       http.StatusNotFound,
	topology.CodeNamespaceNotFound:  http.StatusNotFound,
	topology.CodeAssignmentNotFound: http.StatusNotFound,
	topology.CodePluginNotFound:     http.StatusNotFound,
	topology.CodeTokenNotFound:      http.StatusNotFound,
	topology.CodeNotBootstrapped:    http.StatusServiceUnavailable,
}

// groupRefusal is the answer to what the group refuses: nothing was changed.
func groupRefusal(e *topology.Error) *Error {
	status := refusalStatus[e.Code]
	if status == 0 {
		status = http.StatusConflict
	}
	return &Error{Status: status, Code: e.Code, Message: e.Reason}
}

// withGroup runs what needs the group of hubs, as long as the request and the node last,
// and for as long as anybody waits for hubs.
func (c *call) withGroup(do func(ctx context.Context) error) error {
	if c.api.group == nil {
		return &Error{Status: http.StatusConflict, Code: CodeNotAHub,
			Message: "this node is a relayer, and hubs run the control plane: ask one of them; GET /v1/status names this node's upstreams"}
	}
	ctx, cancel := c.untilDrain()
	defer cancel()
	ctx, done := context.WithTimeout(ctx, groupPatience)
	defer done()
	err := do(ctx)
	if err == nil || !isGone(err) || errors.Is(err, topology.ErrOutcomeUnknown) || c.Context().Err() != nil {
		return err
	}
	if c.Method != http.MethodGet && c.Method != http.MethodHead {
		return err // answered as one whose outcome is unknown
	}
	if c.api.isDraining() {
		return c.shuttingDown()
	}
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeNoLeader, RetryAfter: time.Second,
		Message: fmt.Sprintf("the group of hubs hasn't answered within %v: try again, or add stale=true for what this hub has itself", groupPatience)}
}

// changeGroup is withGroup for what changes something: on loopback only.
func (c *call) changeGroup(do func(ctx context.Context) error) error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	return c.withGroup(do)
}

// overview is what hubs agree on and see, of the request's namespace where it has one: as new as
// the request, or with stale=true what this hub has itself, with a header that says how old it is.
func (c *call) overview(ctx context.Context) (*control.Overview, error) {
	stale, err := c.stale()
	if err != nil {
		return nil, err
	}
	return c.api.viewer.Overview(ctx, control.Query{Stale: stale, Namespace: c.namespace})
}

// stale says whether the request takes an old state, and tells how old that is.
func (c *call) stale() (bool, error) {
	stale, err := c.flag("stale")
	if err == nil && stale {
		c.w.Header().Set(HeaderStale, staleness(c.api.group.Freshness()))
	}
	return stale, err
}

// staleness is how old a hub's state may be, as the header has it.
func staleness(f topology.Freshness) string {
	age := "unknown"
	if f.LastContact >= 0 {
		age = f.LastContact.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("index=%d; age=%s", f.Applied, age)
}

// synced is the group's state, as overview has it.
func (c *call) synced(ctx context.Context) (*topology.State, error) {
	stale, err := c.stale()
	if err != nil {
		return nil, err
	}
	if stale {
		return c.api.group.State(), nil
	}
	return c.api.group.Sync(ctx)
}

// propose makes a change, and waits until this hub knows of it.
func (c *call) propose(ctx context.Context, command topology.Command) error {
	index, err := c.api.group.Propose(ctx, command)
	if err != nil {
		return err
	}
	return c.seen(ctx, index)
}

// seen waits until this hub's state has a change that was made. That it takes long takes
// nothing back.
func (c *call) seen(ctx context.Context, index uint64) error {
	if c.api.group.State().Index >= index {
		return nil
	}
	if _, err := c.api.group.Watch(ctx, index-1); err != nil {
		return &Error{Status: http.StatusGatewayTimeout, Code: CodeNotCaughtUp,
			Message: fmt.Sprintf("the change is made, but this hub hasn't heard of it yet (%v): read again, or ask another hub", err)}
	}
	return nil
}

// afterChange is what the hubs see once a change is made.
func (c *call) afterChange(ctx context.Context) (*control.Overview, error) {
	return c.api.viewer.Overview(ctx, control.Query{Stale: true, Namespace: c.namespace})
}

// checkID refuses what is no id before the group is asked.
func checkID(what, id string) error {
	if strings.TrimSpace(id) == "" {
		return badRequest(CodeBadRequest, "%s is missing: give an id", what)
	}
	return nil
}
