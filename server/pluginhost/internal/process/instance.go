package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// instance is one run of a plugin's program: a process, and the connection to it.
type instance struct {
	opts    *Options
	timing  Timing
	program program
	started time.Time
	child   *child
	client  *goplugin.Client
	config  *goplugin.ClientConfig
	link    *link                      // set by connect
	info    *pluginv1.DescribeResponse // set by describe

	views   *grpc.Server // of a data model
	serving sync.WaitGroup
	life    context.Context // of what serves the process, which serving waits for
	cancel  context.CancelFunc

	calls     sync.WaitGroup // under way; added to with Process.mu held, while the instance is current
	active    atomic.Int64   // how many those are
	begun     atomic.Uint64  // how many there have been
	succeeded atomic.Bool    // one of them was answered
	hung      atomic.Bool    // it was killed because one wasn't
	abandoned atomic.Bool    // one of them was given up and may go on in the plugin
}

// link is what go-plugin hands out of a connection.
type link struct {
	broker *goplugin.GRPCBroker
	conn   *grpc.ClientConn
}

// dispenser is go-plugin's view of either kind of plugin: the bare connection.
type dispenser struct {
	goplugin.NetRPCUnsupportedPlugin
}

// GRPCServer implements goplugin.GRPCPlugin; the node serves no plugin.
func (dispenser) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.ErrUnsupported
}

// GRPCClient implements goplugin.GRPCPlugin.
func (dispenser) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &link{broker: broker, conn: conn}, nil
}

// Keys of go-plugin's sets, by kind.
const (
	keyNotifier = "notifier"
	keyModel    = "datamodel"
)

func keyOf(k pluginv1.Kind) string {
	if k == pluginv1.Kind_KIND_DATA_MODEL {
		return keyModel
	}
	return keyNotifier
}

// launch brings a plugin up until it is configured. When ctx ends the process is
// killed. An error is mostly a *failure; nothing of the instance is left then.
func (p *Process) launch(ctx context.Context) (*instance, error) {
	p.begin("its program is being read")
	p.seen = p.opts.stamp()
	file, err := p.opts.look(ctx, p.summed)
	p.noteProgram(file)
	p.summed = file
	if err != nil {
		return nil, err
	}
	sockets, err := p.opts.SocketDir()
	if err != nil {
		return nil, failed(retryLate, "%v", err)
	}
	i := p.newInstance(file, sockets)
	p.begin("its program was started and hasn't said yet where it listens")
	if err := i.connect(ctx); err != nil {
		i.discard()
		return nil, err
	}
	defer i.killAtEnd(ctx)()
	for _, step := range []struct {
		doing string
		take  func(context.Context) error
	}{
		{"it hasn't answered yet who it is (Describe)", i.describe},
		{"it hasn't taken its configuration yet (Configure)", i.configure},
	} {
		p.begin(step.doing)
		if err := step.take(ctx); err != nil {
			f := asFailure(i.explain(ctx, err))
			f.configuring = i.info != nil
			i.discard()
			return nil, f
		}
	}
	return i, nil
}

// newInstance prepares a process that connect begins.
func (p *Process) newInstance(file program, sockets string) *instance {
	life, cancel := context.WithCancel(context.Background())
	out := newSink(life, p.opts.Logger, &p.dropped)
	i := &instance{
		opts: &p.opts, timing: p.timing, program: file, started: time.Now(),
		child: newChild(out), life: life, cancel: cancel,
	}
	i.config = &goplugin.ClientConfig{
		HandshakeConfig:  plugin.Handshake,
		VersionedPlugins: map[int]goplugin.PluginSet{plugin.Version1: {keyOf(i.opts.Kind): dispenser{}}},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, socketDir string) (runner.Runner, error) {
			i.child.cmd, i.child.socketDir = i.command(spec.Env, socketDir), socketDir
			return i.child, nil
		},
		StartTimeout:     i.timing.Start,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: sockets},
		SyncStdout:       out.writer(),
		SyncStderr:       out.writer(),
		Logger:           hclog.NewNullLogger(), // we say what happens, once
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(plugin.MaxMessageSize), grpc.MaxCallSendMsgSize(plugin.MaxMessageSize))},
	}
	i.client = goplugin.NewClient(i.config)
	return i
}

// connect has go-plugin start the process. Its calls take no context, but end with
// the process.
func (i *instance) connect(ctx context.Context) error {
	defer close(i.child.connected)
	defer i.killAtEnd(ctx)()
	i.serving.Go(i.watchMemory)
	if _, err := i.client.Start(); err != nil {
		return i.startFailure(ctx, err)
	}
	late := time.AfterFunc(i.timing.Describe, func() { i.child.kill("it didn't answer") })
	defer late.Stop()
	protocol, err := i.client.Client()
	if err != nil {
		return i.explain(ctx, err)
	}
	got, err := protocol.Dispense(keyOf(i.opts.Kind))
	if err != nil {
		return err
	}
	i.link, _ = got.(*link) // what dispenser makes
	if !i.program.unchanged() {
		return failed(retrySoon, "%s was changed while it was started", i.program.path)
	}
	_ = preferForKilling(i.child.number()) // a help, not a need
	return nil
}

// killAtEnd kills the process when ctx ends before the answer is called.
func (i *instance) killAtEnd(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { i.child.kill(reasonGivenUp) })
}

// command is the program with the environment that it gets: that of the protocol, and
// nothing of the node's.
func (i *instance) command(protocol []string, private string) *exec.Cmd {
	cmd := exec.Command(i.program.path)
	cmd.Args[0] = i.opts.where()
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"TMPDIR=" + private, // removed when it ends
		// Go's collector works harder before the host has to kill the process.
		fmt.Sprintf("GOMEMLIMIT=%d", i.opts.MemoryLimit/10*8),
		plugin.EnvLogLevel + "=" + levelOf(i.opts.Logger).String(),
	}, protocol...)
	return cmd
}

// levelOf is the level below which nobody reads the plugin's log.
func levelOf(log hclog.Logger) hclog.Level {
	if level := log.GetLevel(); level != hclog.NoLevel && level != hclog.Off {
		return level
	}
	return hclog.Info
}

// startFailure puts into words why a program didn't come up to where it listens.
func (i *instance) startFailure(ctx context.Context, err error) error {
	if i.child.number() == 0 {
		return i.notExecuted(err)
	}
	i.child.kill(reasonGivenUp)
	<-i.child.closed
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if i.child.endedByItself() {
		return i.ended("it ended before it said where it listens")
	}
	if why := i.child.why(); why != reasonGivenUp {
		return i.killed(why)
	}
	var own *failure
	text := printable(err.Error(), maxMessage)
	switch {
	case errors.As(err, &own):
		return own
	case strings.Contains(text, "timeout while waiting"):
		return failed(retrySoon, "%s didn't say within %s where it listens, and was killed%s: check that it is a plugin of UnisonDB", i.program.path, i.timing.Start, i.wrote())
	case strings.Contains(text, "incompatible API version"):
		return failed(retryChanged, "%s speaks none of the versions of the protocol that this node does (%d): use a plugin of this node's release", i.program.path, plugin.Version1)
	case strings.Contains(text, "unsupported plugin protocol"), strings.Contains(text, "Unrecognized remote plugin message"), strings.Contains(text, "core protocol"), strings.Contains(text, "core API version"):
		return failed(retrySoon, "%s doesn't speak as a plugin does%s: check that it is a plugin of UnisonDB (%s)", i.program.path, i.wrote(), text)
	}
	return failed(retrySoon, "%s couldn't be started: %s", i.program.path, text)
}

// wrote is the end of standard error for a message.
func (i *instance) wrote() string {
	if words := i.child.sink.words(); words != "" {
		return " (it wrote: " + words + ")"
	}
	return ""
}

// notExecuted puts into words why the system didn't start a program.
func (i *instance) notExecuted(err error) error {
	path := i.program.path
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return failed(retryChanged, "%s can't be executed here: %s, and this machine is %s/%s: put a program for this machine there", path, formatOf(path), runtime.GOOS, runtime.GOARCH)
	case errors.Is(err, fs.ErrPermission):
		return failed(retryChanged, "the system doesn't let this user execute %s: check the modes of the file and of its directories, and that its file system isn't mounted with noexec", path)
	case errors.Is(err, fs.ErrNotExist):
		if _, missing := os.Stat(path); missing == nil {
			return failed(retryChanged, "%s can't be executed: %s isn't on this machine: install it, or put a program that is built for this machine there", path, loaderOf(path))
		}
	}
	return &failure{reason: fmt.Sprintf("%s couldn't be started: %v", path, cause(err)), retry: retrySoon, err: err}
}

// endedByItself says that it wasn't the host that ended the process.
func (c *child) endedByItself() bool {
	status, ok := c.state.Sys().(syscall.WaitStatus)
	return c.why() == "" || !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL
}

// ended is the failure of a process that ended by itself.
func (i *instance) ended(when string) *failure {
	advice := "see the node's log"
	switch words := i.child.sink.words(); {
	case i.child.killedByOthers():
		advice = "somebody killed it, or the kernel did because memory was short: see the kernel's log, and give it a smaller memory_limit"
	case strings.Contains(words, "error while loading shared libraries"), strings.Contains(words, "Library not loaded"):
		advice = "install the library that it names, or use a program that is built for this machine"
	case strings.Contains(words, "ModuleNotFoundError"):
		advice = "install the module that it names for the Python that runs it"
	}
	return failed(retrySoon, "%s: %s: %s", when, i.child.ending(), advice)
}

// killed is the failure of a process that the host has ended.
func (i *instance) killed(why string) *failure {
	return failed(retrySoon, "%s, and was killed%s", why, i.wrote())
}

// explain finds out whether an error of a call comes from the process's end.
func (i *instance) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var own *failure
	if errors.As(err, &own) {
		return err
	}
	// A broken connection is mostly the end of the process, which is heard of later.
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-i.child.closed:
	case <-timer.C:
		return failed(retrySoon, "%s doesn't answer as a plugin does: %s", i.program.path, printable(err.Error(), maxMessage))
	}
	if why := i.child.why(); why != "" && !i.child.endedByItself() {
		return i.killed(why)
	}
	return i.ended("it ended while it was started")
}

// discard ends an instance that isn't used, and waits for it.
func (i *instance) discard() {
	i.child.kill(reasonGivenUp)
	i.release()
}

// release waits for all that belongs to a process that has ended or is about to.
func (i *instance) release() {
	if i.views != nil {
		i.views.Stop()
	}
	began := i.child.number() != 0
	if began {
		<-i.child.exited
	}
	i.cancel()
	if began {
		<-i.child.closed
	}
	i.serving.Wait()
	if i.link != nil {
		_, _ = i.link.broker.Close(), i.link.conn.Close() // it is broken already
	}
	i.client.Kill() // the process is gone: it clears away what is its own
	if i.child.socketDir != "" {
		_ = os.RemoveAll(i.child.socketDir) // go-plugin leaves it where no process came up
	}
}

// serveViews lets a data model read, and returns the number under which it finds it.
func (i *instance) serveViews() (uint32, error) {
	if i.opts.View == nil {
		return 0, nil
	}
	id := i.link.broker.NextId()
	listener, err := i.link.broker.Accept(id)
	if err != nil {
		return 0, err
	}
	i.views = grpc.NewServer(grpc.Creds(credentials.NewTLS(i.config.TLSConfig)), grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(plugin.MaxMessageSize), grpc.MaxSendMsgSize(plugin.MaxMessageSize))
	pluginv1.RegisterViewServer(i.views, i.opts.View)
	i.serving.Go(func() {
		if err := i.views.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			i.opts.Logger.Warn("serving the data model's view ended", "error", err)
		}
	})
	return id, nil
}

// loaderOf names what a program needs to be executed at all.
func loaderOf(path string) string {
	if loader := interpreterOf(path); loader != "" {
		return "its interpreter " + loader
	}
	return "what it needs to run (" + filepath.Base(path) + " names it)"
}
