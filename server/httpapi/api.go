// Package httpapi is the HTTP door of a node: the data API, health, status and
// metrics. It turns requests into calls of the kernel and errors into stable
// codes; it decides nothing about the data itself.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/internal/forward"
	"github.com/unisondb/unisondb/server/pluginhost"
)

// Node is what the door needs of the node behind it. All methods may be called
// concurrently. None but WaitReplicated and Reload waits for others.
type Node interface {
	// Namespace returns a namespace that this node serves. It answers
	// dbkernel.ErrNamespaceNotFound, or a *StateError for one that it can't
	// serve at the moment.
	Namespace(name string) (*dbkernel.Namespace, error)
	// CreateNamespace makes a namespace that this node owns, durably. With replace it
	// takes the place of one whose data is lost or unusable, as another lineage.
	CreateNamespace(ctx context.Context, name string, replace bool) error
	// AcceptLineage lets a namespace that this node follows become one of that
	// lineage, whatever it has of another. It is durable, and holds until it has happened.
	AcceptLineage(name string, lineage dbkernel.Lineage) error
	// WaitReplicated waits until that many direct followers report the position
	// durable, or ctx ends, and answers how many do. nil: as many as were asked for.
	WaitReplicated(ctx context.Context, name string, p dbkernel.Position, acks int) (have int, err error)
	// Owner names the owner of a namespace as well as this node knows it; it
	// may be empty.
	Owner(namespace string) string
	// HasNamespace says whether this node answers requests to a namespace itself, if only
	// by the reason why it can't. A hub that is to follow it and has nothing of it yet does not.
	HasNamespace(namespace string) bool
	// OwnerElsewhere says whether writes to a namespace have to go to another hub, also while
	// it isn't known to which. It is false for what a relayer owns.
	OwnerElsewhere(namespace string) bool
	// RelayerOwns says whether a relayer takes the writes to a namespace, so that no hub can.
	RelayerOwns(namespace string) bool
	// Names lists the namespaces that the node has, or should have, sorted. It
	// opens none of them.
	Names() []string
	// Status is the node's state. Namespaces that were never used are opened for it.
	Status() Status
	// NamespaceStatus is the state of one namespace.
	NamespaceStatus(name string) NamespaceStatus
	// NotReady lists why the node can't serve what the query asks for; none
	// means ready.
	NotReady(q ReadyQuery) []string
	// Reload reads the configuration again and answers what has changed, a few words
	// each. An error means that nothing has. ctx only bounds how long what is no longer
	// wanted may take to end.
	Reload(ctx context.Context) (changed []string, err error)
}

// Options configure an API. Node is required.
type Options struct {
	Node Node
	// Plugins are the node's; nil: it has none.
	Plugins Plugins
	Logger  hclog.Logger // silent by default
	// Group is the group of hubs, and Viewer what its hubs see; nil on a relayer. They need NodeID,
	// this hub's id.
	Group  Group
	Viewer Viewer
	NodeID string
	// Clock tells the time of changes of the group; time.Now by default.
	Clock func() time.Time
	// Forwarder passes requests on to other hubs; nil: there are none.
	Forwarder *forward.Forwarder
	// Metrics answers GET /metrics; nil leaves that route unknown.
	Metrics http.Handler
	// Observe is told of every finished request. It must not block. May be nil.
	Observe func(Observation)
	// BackupDir is where backups are written; without it they are refused.
	BackupDir string
	// BodyMemory bounds the bytes of large request bodies, and of the values of large
	// answers, held at one time; 0 means DefaultBodyMemory.
	BodyMemory int64
}

// Observation is one finished request.
type Observation struct {
	Route  string // the route's name, never the path
	Method string
	Status int
	Took   time.Duration
}

// API is an http.Handler.
type API struct {
	node      Node
	plugins   Plugins
	group     Group
	viewer    Viewer
	nodeID    string
	clock     func() time.Time
	made      time.Duration // how long a request waits for a new namespace
	forwarder *forward.Forwarder
	log       hclog.Logger
	metrics   http.Handler
	observe   func(Observation)
	backupDir string
	bodies    *semaphore.Weighted
	patience  patience
	// draining ends when the API drains.
	draining context.Context
	drain    context.CancelFunc
	// serving is held for reading by every request, and taken by who waits for
	// the last one to end.
	serving  sync.RWMutex
	inFlight atomic.Int64
}

// New returns the handler of a node's HTTP door.
func New(o Options) *API {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Observe == nil {
		o.Observe = func(Observation) {}
	}
	if o.BodyMemory == 0 {
		o.BodyMemory = DefaultBodyMemory
	}
	if o.Plugins == nil {
		o.Plugins = pluginhost.New(pluginhost.Options{})
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	draining, drain := context.WithCancel(context.Background())
	return &API{
		group: o.Group, viewer: o.Viewer, nodeID: o.NodeID, clock: o.Clock, made: madePatience,
		draining: draining, drain: drain,
		node: o.Node, plugins: o.Plugins, forwarder: o.Forwarder, log: o.Logger, metrics: o.Metrics, observe: o.Observe, backupDir: o.BackupDir,
		bodies: semaphore.NewWeighted(max(o.BodyMemory, maxBody+dbkernel.MaxBatchLen+4*largeBody)), patience: defaultPatience,
	}
}

// Drain makes the API refuse new requests for data, while those under way go
// on. Those that only wait for a position are answered at once, as the new ones are.
// Health and metrics stay.
func (a *API) Drain() { a.drain() }

func (a *API) isDraining() bool { return a.draining.Err() != nil }

// Wait returns when no request is under way. The server must be closed by then.
func (a *API) Wait() {
	a.serving.Lock()
	defer a.serving.Unlock()
}

// InFlight is how many requests are under way.
func (a *API) InFlight() int64 { return a.inFlight.Load() }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.serving.RLock()
	defer a.serving.RUnlock()
	a.inFlight.Add(1)
	defer a.inFlight.Add(-1)
	start := time.Now()
	rec := newRecorder(w, a.patience.answer)
	c := &call{api: a, w: rec, Request: r, route: "unknown", incoming: forward.From(r.Context())}
	defer c.release()
	// Behind the handler, net/http reads on in a body that wasn't read to its end.
	defer func() {
		rest := a.patience.rest
		if a.isDraining() {
			rest = 0
		}
		rec.setReadDeadline(time.Now().Add(rest))
	}()
	defer func() {
		if p := recover(); p != nil {
			a.recovered(c, p)
		}
		a.observe(Observation{Route: c.route, Method: methodLabel(r.Method), Status: rec.status, Took: time.Since(start)})
	}()
	rec.Header().Set("X-Content-Type-Options", "nosniff")
	if err := a.serve(c); err != nil && !errors.Is(err, errDeclined) {
		a.fail(c, err)
	}
}

// serve finds the route and the namespace and runs the handler.
func (a *API) serve(c *call) error {
	ep, p, err := a.resolve(c.Method, c.URL.EscapedPath())
	if err != nil {
		return err
	}
	c.route, c.pathArgs = ep.name, p
	h, ok := ep.methods[c.Method]
	if !ok && c.Method == http.MethodHead {
		h, ok = ep.methods[http.MethodGet]
	}
	if !ok {
		return methodNotAllowed(c.Method, ep)
	}
	if err := c.parseQuery(); err != nil {
		return err
	}
	if ep.probe {
		return h(c)
	}
	if c.incoming != nil {
		if err := c.takeUp(ep); err != nil {
			return err
		}
	} else if a.isDraining() {
		return c.shuttingDown()
	}
	if !ep.system {
		if passed, err := c.passOn(ep); passed || err != nil {
			return err
		}
		if err := c.enterNamespace(); err != nil {
			return err
		}
	}
	if err := h(c); err != nil {
		return err
	}
	return c.answerWrite()
}

// recovered answers a request whose handler panicked. The node goes on.
func (a *API) recovered(c *call, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	a.log.Error("request handler panicked", "route", c.route, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if c.w.status != 0 {
		// The answer has begun: only a cut connection tells the client that it isn't whole.
		panic(http.ErrAbortHandler)
	}
	a.fail(c, &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Message: "the node met an error of its own; its log says more"})
}

// fail answers err.
func (a *API) fail(c *call, err error) {
	e := c.ownerMoved(c.errorOf(err))
	if e.Status >= 500 && e.Status != http.StatusServiceUnavailable && e.Status != http.StatusGatewayTimeout {
		a.log.Error("request failed", "route", c.route, "namespace", c.namespace, "code", e.Code, "error", err)
	}
	if c.w.status != 0 {
		a.log.Warn("answer was cut short", "route", c.route, "namespace", c.namespace, "error", err)
		panic(http.ErrAbortHandler)
	}
	if e.Code == CodeReadOnly {
		if owner := a.node.Owner(c.namespace); owner != "" {
			c.w.Header().Set(HeaderOwner, owner)
		}
	}
	e.write(c.w)
}

// methodLabel keeps what clients make up out of the metrics.
func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return m
	}
	return "other"
}

// isGone says that the client went away or the request's time ended.
func isGone(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
