package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is the operating system's process. It implements go-plugin's
// runner.Runner, so that it is we who start it: on a thread that lives as long as it,
// with pipes that can't hang, and a log that can't be flooded.
type child struct {
	sink  *sink
	hello *handshake

	// cmd and socketDir, which its sockets must be in, are set before it is started.
	cmd       *exec.Cmd
	socketDir string

	mu     sync.Mutex
	pid    int    // 0 until it is started
	killed string // why the host killed it; empty: it didn't
	reaped bool

	exited chan struct{} // closed when it has ended and is reaped
	closed chan struct{} // closed when its pipes are read as well
	state  *os.ProcessState
	// connected is closed when go-plugin has its connection, or won't get one. It learns of the
	// process's end only then: while it connects, that would leak what it has begun.
	connected chan struct{}
}

func newChild(s *sink) *child {
	return &child{
		sink: s, hello: newHandshake(),
		exited: make(chan struct{}), closed: make(chan struct{}), connected: make(chan struct{}),
	}
}

// number is the process's; 0: it was never started.
func (c *child) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Start implements runner.Runner.
func (c *child) Start(context.Context) error {
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return c.notStarted(err)
	}
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		_, _ = outRead.Close(), outWrite.Close()
		return c.notStarted(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = outWrite, errWrite
	c.cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	go c.run(started)
	err = <-started
	_, _ = outWrite.Close(), errWrite.Close() // the child has its own
	if err != nil {
		_, _ = outRead.Close(), errRead.Close()
		return c.notStarted(err)
	}
	go c.read(outRead, errRead)
	return nil
}

// notStarted leaves no reader waiting.
func (c *child) notStarted(err error) error {
	close(c.hello.ready)
	close(c.closed)
	return err
}

// run starts the process and waits for its end on one thread, which does
// nothing else: when the thread that started a process ends, the kernel kills it.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.begin(); err != nil {
		close(c.exited)
		started <- err
		return
	}
	started <- nil
	c.await()
	close(c.exited)
}

// begin starts the process, unless it was killed before that.
func (c *child) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.killed != "" {
		return context.Canceled
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	c.pid = c.cmd.Process.Pid
	return nil
}

// read takes what the process writes until it has ended.
func (c *child) read(stdout, stderr *os.File) {
	defer close(c.closed)
	var readers sync.WaitGroup
	readers.Go(func() { c.hello.take(stdout, c.sink) })
	readers.Go(func() { c.sink.drain(stderr, true) })
	<-c.exited
	deadline := time.Now().Add(exitGrace)
	_, _ = stdout.SetReadDeadline(deadline), stderr.SetReadDeadline(deadline)
	readers.Wait()
	_, _ = stdout.Close(), stderr.Close()
	c.sink.flush()
}

// kill ends the process and all of its group at once. The first reason counts.
func (c *child) kill(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return
	}
	if c.killed == "" {
		c.killed = reason
	}
	if c.pid == 0 {
		return
	}
	_ = syscall.Kill(-c.pid, syscall.SIGKILL) // it may have ended
	_ = c.cmd.Process.Kill()
}

// hasEnded says that the process is no more.
func (c *child) hasEnded() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// why is the reason for which the host killed it, or empty.
func (c *child) why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.killed
}

// Kill implements runner.Runner: go-plugin gives the process up.
func (c *child) Kill(context.Context) error {
	c.kill(reasonGivenUp)
	return nil
}

// reasonGivenUp is go-plugin's, which has an error of its own for it.
const reasonGivenUp = "given up"

// Wait implements runner.Runner.
func (c *child) Wait(context.Context) error {
	<-c.closed
	<-c.connected
	if c.state != nil && !c.state.Success() {
		return errors.New(c.state.String())
	}
	return nil
}

// Stdout implements runner.Runner: the first line alone.
func (c *child) Stdout() io.ReadCloser { return c.hello }

// Stderr implements runner.Runner: nothing, for the log is read by sink.
func (c *child) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (c *child) Name() string { return c.cmd.Path }

// ID implements runner.Runner.
func (c *child) ID() string {
	if pid := c.number(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// Diagnose implements runner.Runner.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner: a plugin listens in its private
// directory and nowhere else.
func (c *child) PluginToHost(network, address string) (hostNetwork, hostAddress string, err error) {
	if network != "unix" {
		return "", "", failed(retryChanged, "it listens on %s %s: a plugin has to listen on a unix socket in the directory that the environment variable PLUGIN_UNIX_SOCKET_DIR names", printable(network, 20), printable(address, 100))
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(address))
	if err != nil {
		return "", "", failed(retrySoon, "the socket that it names isn't there: %v", cause(err))
	}
	if private, err := filepath.EvalSymlinks(c.socketDir); err != nil || dir != private {
		return "", "", failed(retryChanged, "it listens on %s: a plugin has to listen on a unix socket in the directory that the environment variable PLUGIN_UNIX_SOCKET_DIR names", printable(address, 200))
	}
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (c *child) HostToPlugin(network, address string) (pluginNetwork, pluginAddress string, err error) {
	return network, address, nil
}

// killedByOthers says that a signal ended it that nobody can refuse, and that wasn't the host's.
func (c *child) killedByOthers() bool {
	status, ok := c.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL && c.why() == ""
}

// ending says how the process ended, with the end of what it wrote.
func (c *child) ending() string {
	var how string
	switch status, ok := c.state.Sys().(syscall.WaitStatus); {
	case ok && status.Signaled():
		how = fmt.Sprintf("it was ended by signal %d (%s)", status.Signal(), status.Signal())
	default:
		how = fmt.Sprintf("it exited with status %d", c.state.ExitCode())
	}
	if words := c.sink.words(); words != "" {
		how += fmt.Sprintf(", and wrote: %s", words)
	}
	return how
}
