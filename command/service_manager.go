package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Environment variables by which a service manager says that it wants to hear from a
// process, and how often: the protocol of systemd's sd_notify.
const (
	envNotifySocket = "NOTIFY_SOCKET"
	envWatchdogUsec = "WATCHDOG_USEC"
	envWatchdogPID  = "WATCHDOG_PID"
)

const (
	// sendPatience bounds how long a node waits for a service manager that doesn't read.
	sendPatience = 5 * time.Second
	// startExtension is how much longer a start may take, each time that the node says so.
	startExtension = 30 * time.Second
	// stopExtension is how long a stop may take: the requests under way, and closing the data.
	stopExtension = shutdownGrace + time.Minute
)

// serviceManager is what has started the process and wants to know how it does, as
// systemd does. It never keeps a node from its work: what can't be said is logged once. Without a
// service manager its methods do nothing.
//
// The protocol is a few lines of text in a datagram. It is written here because
// the environment is passed in, and because the ready-made client waits without end for a
// manager that doesn't read.
type serviceManager struct {
	socket   string        // "": there is none
	watchdog time.Duration // how often it wants a sign of life; 0: never
	extend   time.Duration // how often a start says that it goes on
	patience time.Duration // with a manager that doesn't read
	log      hclog.Logger

	// work are the goroutines that tell it something from time to time.
	work       sync.WaitGroup
	stopSigns  context.CancelFunc
	stopExtend context.CancelFunc

	// mu orders what is said. No message may claim readiness behind the one that says that the node stops.
	mu       sync.Mutex
	summary  func() string // of a node that serves; nil before
	stopping bool
	failed   bool   // the last message didn't arrive
	reload   string // what became of the last reload, where that has to be said
}

func newServiceManager(env func(string) (string, bool), log hclog.Logger) *serviceManager {
	m := &serviceManager{extend: startExtension / 3, patience: sendPatience, log: log, stopSigns: func() {}, stopExtend: func() {}}
	m.socket, _ = env(envNotifySocket)
	m.watchdog = watchdogInterval(env)
	return m
}

// watchdogInterval is how often a sign of life is due: twice in the time that the service
// manager waits for one. 0: it waits for none of this process.
func watchdogInterval(env func(string) (string, bool)) time.Duration {
	if pid, ok := env(envWatchdogPID); ok && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	text, _ := env(envWatchdogUsec)
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}

// starting says that the node starts, and goes on saying so: a recovery takes as long as it takes.
func (m *serviceManager) starting() {
	m.say("STATUS=Starting: opening the data.")
	m.stopExtend = m.repeat(m.extend, func() { m.say(extendTimeout(startExtension)) })
}

// started says that the node serves; summary is how it does, in a line. From here on the node gives signs
// of life, each with a summary: who makes that takes the locks that an answer to /health takes, so that a
// node that hangs gives none.
func (m *serviceManager) started(summary func() string) {
	m.stopExtend()
	if m.socket == "" {
		return
	}
	text := summary()
	m.mu.Lock()
	m.summary = summary
	m.sayLocked("READY=1", m.statusLocked(text))
	m.mu.Unlock()
	if m.watchdog > 0 {
		m.stopSigns = m.repeat(m.watchdog, m.signOfLife)
	}
}

func (m *serviceManager) signOfLife() {
	if m.isStopping() { // what hangs then has a time limit of its own
		m.say("WATCHDOG=1")
		return
	}
	text := m.summary()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		m.sayLocked("WATCHDOG=1")
		return
	}
	m.sayLocked("WATCHDOG=1", m.statusLocked(text))
}

func (m *serviceManager) isStopping() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopping
}

// reloading says that the configuration is read again, and the function that it
// returns that the node serves again, with what has become of it.
func (m *serviceManager) reloading() (ended func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.summary == nil || m.stopping {
		return func(error) {}
	}
	m.sayLocked("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10), "STATUS=Reading the configuration again.")
	return m.reloaded
}

func (m *serviceManager) reloaded(err error) {
	text := m.summary()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		return
	}
	m.reload = ""
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		m.reload = " The last reload was refused: " + strings.TrimRight(first, ":.") + "."
	}
	m.sayLocked("READY=1", m.statusLocked(text))
}

// stops says that the node stops. Signs of life go on until close.
func (m *serviceManager) stops() {
	m.stopExtend()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping = true
	m.sayLocked("STOPPING=1", extendTimeout(stopExtension), "STATUS=Stopping: requests under way may end.")
}

// close ends the signs of life. It doesn't wait for them: the node may hang.
func (m *serviceManager) close() {
	m.stopExtend()
	m.stopSigns()
}

// wait returns when nothing more will be said, after close.
func (m *serviceManager) wait() { m.work.Wait() }

// statusLocked is the line that people see, as in `systemctl status`.
func (m *serviceManager) statusLocked(summary string) string { return "STATUS=" + summary + m.reload }

func extendTimeout(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}

// repeat calls f at once and then at each interval, until it is told to stop.
func (m *serviceManager) repeat(interval time.Duration, f func()) (stop context.CancelFunc) {
	if m.socket == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.work.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for ctx.Err() == nil {
			f()
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	return cancel
}

func (m *serviceManager) say(lines ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sayLocked(lines...)
}

// sayLocked sends one message. The first failure in a row is logged.
func (m *serviceManager) sayLocked(lines ...string) {
	if m.socket == "" {
		return
	}
	err := send(m.socket, strings.Join(lines, "\n"), m.patience)
	if err != nil && !m.failed {
		m.log.Warn("the service manager can't be told how the node does, which goes on all the same: check $"+envNotifySocket, "error", err)
	}
	m.failed = err != nil
}

// send sends a datagram to a socket: a path, or an abstract one behind an "@".
func send(socket, message string, patience time.Duration) error {
	if socket[0] != '/' && socket[0] != '@' {
		return fmt.Errorf("%s=%s is no unix socket: it begins with neither / nor @", envNotifySocket, socket)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	if err = conn.SetWriteDeadline(time.Now().Add(patience)); err == nil {
		_, err = conn.Write([]byte(message))
	}
	return errors.Join(err, conn.Close())
}

// monotonic is the time of the clock that service managers compare reloads by.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // no system that this runs on lacks the clock
	}
	return time.Duration(t.Nano())
}
