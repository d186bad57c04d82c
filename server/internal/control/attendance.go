package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/dbkernel/vfs"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// AttendanceOptions configure an Attendance. Zero fields that aren't required have defaults.
type AttendanceOptions struct {
	NodeID    string   // of this relayer; required
	Addresses []string // gRPC addresses of hubs, tried in order; required
	// Path is where relayer.json is, or will be; required.
	Path string
	FS   vfs.FS // the operating system's
	// Hello is what the relayer says of itself at the begin of each session; required. Its
	// join token, credential, cluster and assignment index are filled in.
	Hello func() *dbv1.RelayerHello
	// Report is how the relayer's namespaces do; required. What it answers isn't changed
	// afterwards by anybody.
	Report func() []*dbv1.NamespaceReport
	// OnAssignment is told each assignment that differs from the one before, in order, one
	// at a time, once it is on disk. It should return soon: heartbeats wait behind it. What was
	// on disk at the start is for Assignment.
	OnAssignment func(*dbv1.Assignment)
	// JoinToken is that of the configuration; empty: none.
	JoinToken string
	// CredentialsOf secure the connection to an address, also one that a hub has named;
	// nil: plain TCP.
	CredentialsOf func(address string) credentials.TransportCredentials
	Logger        hclog.Logger // silent by default
	// Dial connects to an address; nil: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Clock and Rand serve the status and jitter; nil: time.Now and math/rand's Float64.
	Clock func() time.Time
	Rand  func() float64
	// Interval is how often the relayer reports; 0: DefaultHeartbeat.
	Interval time.Duration
}

// Attendance is a relayer's end: a session with one of its hubs, and after that with the next.
type Attendance struct {
	o     AttendanceOptions
	store store

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	start  sync.Once
	wg     sync.WaitGroup
	soon   chan struct{} // a report is due; room for one

	// mu guards what is below it.
	mu     sync.Mutex
	memory memory
	status AttendanceStatus
}

// AttendanceStatus is how a relayer's attendance does.
type AttendanceStatus struct {
	Connected bool
	Hub       string // node id of the hub that it attends, or attended last
	Address   string // of that hub, or of the one that was tried last
	Cluster   string // the group that it has joined; empty: none yet
	Since     time.Time
	// Code and Reason say why it isn't connected, or what is wrong although it is.
	Code, Reason string
}

// NewAttendance reads what relayer.json has kept. A damaged one, one of a newer version, or another node's,
// is an error that says what to do. Nothing runs before Start.
func NewAttendance(o AttendanceOptions) (*Attendance, error) {
	o, err := o.validated()
	if err != nil {
		return nil, err
	}
	a := &Attendance{o: o, store: store{fs: o.FS, name: o.Path}, soon: make(chan struct{}, 1)}
	if a.memory, err = a.store.read(o.NodeID); err != nil {
		return nil, err
	}
	a.status = AttendanceStatus{
		Cluster: a.memory.Cluster, Since: o.Clock(), Code: CodeUnavailable, Reason: "no hub was reached yet",
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a, nil
}

func (o AttendanceOptions) validated() (AttendanceOptions, error) {
	switch {
	case o.NodeID == "":
		return o, errors.New("a node id is required")
	case len(o.Addresses) == 0:
		return o, errors.New("at least one address is required")
	case o.Path == "":
		return o, errors.New("a path for relayer.json is required")
	case o.Hello == nil || o.Report == nil:
		return o, errors.New("functions that make the hello and the reports are required")
	}
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.OnAssignment == nil {
		o.OnAssignment = func(*dbv1.Assignment) {}
	}
	if o.CredentialsOf == nil {
		o.CredentialsOf = func(string) credentials.TransportCredentials { return insecure.NewCredentials() }
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Interval <= 0 {
		o.Interval = DefaultHeartbeat
	}
	return o, nil
}

// Start begins to attend. It doesn't wait for a hub.
func (a *Attendance) Start() {
	a.start.Do(func() { a.wg.Go(a.keep) })
}

// Close ends the session and waits until nothing of it runs.
func (a *Attendance) Close() {
	a.start.Do(func() {}) // a later Start does nothing
	a.cancel()
	a.wg.Wait()
}

// Assignment is what the relayer was told to have last, in this process or before; nil:
// it was never told. It must not be changed.
func (a *Attendance) Assignment() *dbv1.Assignment {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.memory.Assignment
}

// Credential is what stands for a certificate of this relayer; empty: nothing does. It is for
// StreamCredentials.
func (a *Attendance) Credential() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.memory.Credential
}

// Status says how the attendance does.
func (a *Attendance) Status() AttendanceStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// ReportSoon has the next report go within a moment: something has changed.
func (a *Attendance) ReportSoon() {
	select {
	case a.soon <- struct{}{}:
	default: // it will
	}
}

// keep attends one hub after the other until Close.
func (a *Attendance) keep() {
	r := rota{configured: a.o.Addresses, rand: a.o.Rand}
	var said string
	for a.ctx.Err() == nil {
		r.learn(a.Assignment().GetHubs())
		address := r.address()
		attended, err := a.visit(address)
		if a.ctx.Err() != nil {
			return
		}
		refusal := asRefusal(err)
		a.ended(address, refusal)
		// One line for each new reason: a hub that is away for a night doesn't fill the log.
		if reason := refusal.Error(); attended || reason != said {
			a.o.Logger.Log(levelOf(refusal), "no session with a hub", "address", address, "reason", reason)
			said = reason
		}
		if !sleep(a.ctx, r.next(attended, refusal.Retryable)) {
			return
		}
	}
}

// levelOf is the level of the log line for an end of a session. That an upstream is no
// hub, or an older one, is how somebody has set it up.
func levelOf(r *Refusal) hclog.Level {
	if r.Code == CodeControlNotOffered {
		return hclog.Debug
	}
	return hclog.Warn
}

func (a *Attendance) ended(address string, r *Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.Connected {
		a.status.Since = a.o.Clock()
	}
	a.status.Connected, a.status.Address, a.status.Code, a.status.Reason = false, address, r.Code, r.Reason
}

// began notes that a hub has let the relayer in. From the first one on it keeps to that one's group.
func (a *Attendance) began(address string, h *dbv1.HubHello) error {
	cluster := h.GetCluster()
	a.mu.Lock()
	joined := a.memory
	a.mu.Unlock()
	switch {
	case cluster == "":
		return refuseForNow(CodeInvalidMessage, "the hub doesn't say which group it belongs to")
	case joined.Cluster != "" && joined.Cluster != cluster:
		return otherCluster(cluster, joined.Cluster)
	case joined.Cluster == "":
		if err := a.remember(func(m *memory) { m.Cluster = cluster }); err != nil {
			return refuseForNow(CodeAssignmentUnusable, "joining isn't possible while that can't be noted: %v", err).because(err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = AttendanceStatus{
		Connected: true, Hub: clip(h.GetNodeId(), maxReasonLen), Address: address, Cluster: cluster, Since: a.o.Clock(),
	}
	a.o.Logger.Info("attending a hub", "hub", a.status.Hub, "address", address, "cluster", cluster)
	return nil
}

// remember changes what relayer.json says, and what is known here once that is durable.
func (a *Attendance) remember(change func(*memory)) error {
	a.mu.Lock()
	m := a.memory
	a.mu.Unlock()
	change(&m)
	if err := a.store.write(m); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory = m
	return nil
}

// assigned takes an assignment. One that can't be kept on disk isn't passed on either: the
// relayer would be something else after a restart. The session ends, and the next one
// brings it again.
func (a *Attendance) assigned(as *dbv1.Assignment) error {
	if a.renewed(as) {
		return nil
	}
	if err := a.remember(func(m *memory) { m.Assignment = as }); err != nil {
		return refuseForNow(CodeAssignmentUnusable, "a new assignment waits: %v", err).because(err)
	}
	a.o.OnAssignment(as)
	return nil
}

// renewed says whether an assignment is the one that the relayer has, as each session begins with, of
// a newer state at most.
func (a *Attendance) renewed(as *dbv1.Assignment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.memory.Assignment == nil {
		return false
	}
	same := proto.CloneOf(a.memory.Assignment)
	same.Index = as.GetIndex()
	if !proto.Equal(same, as) {
		return false
	}
	a.memory.Assignment = same
	return true
}

// hello is what the relayer says first. secure says that the connection has TLS.
func (a *Attendance) hello(secure bool) (*dbv1.RelayerHello, error) {
	h := a.o.Hello()
	h.JoinToken = a.o.JoinToken
	if secure && a.o.JoinToken != "" && a.Credential() == "" {
		// It is durable before it is shown: the group's answer may be lost, a restart comes
		// between, and the token is used up.
		if err := a.remember(func(m *memory) { m.Credential = NewCredential() }); err != nil {
			return nil, fmt.Errorf("joining by a token: %w", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if secure {
		h.Credential = a.memory.Credential
	}
	h.Cluster, h.AssignmentIndex = a.memory.Cluster, a.memory.Assignment.GetIndex()
	return h, nil
}
