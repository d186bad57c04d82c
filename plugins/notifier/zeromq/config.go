package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pebbe/zmq4"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// config is the config block.
type config struct {
	BindPort      int           `config:"bind_port" min:"1" max:"65535" doc:"the port of the PUB socket"`
	BindAddress   string        `config:"bind_address" doc:"an IP address, a network interface, * for all, or ipc:///path of a socket on this machine"`
	HighWaterMark int           `config:"high_water_mark" min:"0" max:"2147483647" doc:"how many messages wait for a slow subscriber before it loses some; 0: no bound, up to memory_limit"`
	LingerTime    time.Duration `config:"linger_time" min:"0s" max:"1h" doc:"how long messages are still sent when the notifier stops"`
	Curve         *curveConfig  `config:"curve" doc:"encryption, and who may subscribe"`
}

// curveConfig is the curve block.
type curveConfig struct {
	SecretKey      string   `config:"secret_key,required,sensitive" doc:"the socket's CURVE secret key, 40 characters of Z85"`
	AllowedClients []string `config:"allowed_clients,required" doc:"public keys of the clients that may subscribe, or * alone for all that know the socket's public key"`
}

func defaults() config {
	return config{BindAddress: "127.0.0.1", HighWaterMark: 10000, LingerTime: time.Second}
}

// anyClient stands in allowed_clients for all.
const anyClient = "*"

// ipcScheme begins the address of a socket in the file system.
const ipcScheme = "ipc://"

// maxIPCPath is how long a socket's path may be, in bytes, on Linux.
const maxIPCPath = 107

// settings are a configuration that was found good.
type settings struct {
	config
	endpoint  string // in libzmq's words
	path      string // of an ipc:// endpoint
	ipv6      bool
	loopback  bool // nobody from outside the machine comes in
	publicKey string
}

// settingsOf checks a configuration; its error lists all problems.
func settingsOf(c plugin.Config) (settings, error) {
	s := settings{config: defaults()}
	if err := c.Decode(&s.config); err != nil {
		return settings{}, err
	}
	var problems plugin.Problems
	report := func(path string, err error) {
		if err != nil {
			problems = append(problems, plugin.Problem{Path: path, Message: err.Error()})
		}
	}
	if len(c.Namespaces) != 1 {
		report("", fmt.Errorf(`a ZeroMQ socket serves one namespace, and this block has %d (%s): write a notifier "zeromq" block with a bind_port of its own inside each namespace`,
			len(c.Namespaces), strings.Join(c.Namespaces, ", ")))
	}
	if path, ok := strings.CutPrefix(s.BindAddress, ipcScheme); ok {
		s.endpoint, s.path, s.loopback = s.BindAddress, path, true
		report("bind_address", checkIPC(path))
		if s.BindPort != 0 {
			report("bind_port", errors.New("a socket at an ipc:// address has no port: leave it out"))
		}
	} else {
		err := s.resolve()
		report("bind_address", err)
		if s.BindPort == 0 {
			report("bind_port", errors.New("it is missing: write bind_port = 5555"))
		}
	}
	if s.Curve != nil {
		var more plugin.Problems
		s.publicKey, more = s.Curve.check()
		problems = append(problems, more...)
	}
	if len(problems) > 0 {
		return settings{}, problems
	}
	return s, nil
}

// resolve makes a TCP endpoint of the address.
func (s *settings) resolve() error {
	address := strings.TrimSuffix(strings.TrimPrefix(s.BindAddress, "["), "]")
	if address == "localhost" {
		address = "127.0.0.1"
	}
	port := strconv.Itoa(s.BindPort)
	if ip, err := netip.ParseAddr(address); err == nil {
		s.ipv6, s.loopback = ip.Is6(), ip.IsLoopback()
		s.endpoint = "tcp://" + net.JoinHostPort(address, port)
		return nil
	}
	if address == "*" {
		s.endpoint = "tcp://*:" + port
		return nil
	}
	if i, err := net.InterfaceByName(address); err == nil {
		s.loopback = i.Flags&net.FlagLoopback != 0
		s.endpoint = "tcp://" + address + ":" + port
		return nil
	}
	return fmt.Errorf(`%q is no IP address and no network interface of this machine: write an address without scheme and port, "*" for all, or "ipc:///path"`, s.BindAddress)
}

// checkIPC keeps libzmq, which removes whatever has the name that it binds, from
// doing harm.
func checkIPC(path string) error {
	if !filepath.IsAbs(path) || path != filepath.Clean(path) {
		return fmt.Errorf("%q is no absolute path: write ipc:// and behind it a path such as /run/unisondb/orders.sock", path)
	}
	if len(path) > maxIPCPath {
		return fmt.Errorf("the path has %d bytes, and a socket's may have %d: use a shorter one", len(path), maxIPCPath)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("the folder of the socket can't be used: %w: make it, writable for the node", err)
	} else if !dir.IsDir() {
		return fmt.Errorf("%s is no folder: choose another path", filepath.Dir(path))
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: choose another path", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is no socket: remove it, or choose another path", path)
	}
	return nil // perhaps left behind by a process that ended: listen finds out
}

// check also derives the public key.
func (c *curveConfig) check() (public string, problems plugin.Problems) {
	report := func(path, format string, args ...any) {
		problems = append(problems, plugin.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	if !zmq4.HasCurve() {
		report("curve", "this machine's libzmq was built without CURVE: install one that has it (libsodium), or leave the block out")
		return "", problems
	}
	if !isKey(c.SecretKey) {
		report("curve.secret_key", "it is no CURVE key: use the 40 characters that zmq_curve_keypair or curve_keygen prints")
	} else if key, err := zmq4.AuthCurvePublic(c.SecretKey); err != nil {
		report("curve.secret_key", "no public key can be made of it (%v): make a new pair with curve_keygen", err)
	} else {
		public = key
	}
	if len(c.AllowedClients) == 0 {
		report("curve.allowed_clients", `it is empty, so that nobody could subscribe: list the clients' public keys, or write ["*"]`)
	}
	for _, key := range c.AllowedClients {
		if key == anyClient && len(c.AllowedClients) > 1 {
			report("curve.allowed_clients", `"*" allows all, so that the other keys mean nothing: write "*" alone, or leave it out`)
		}
		if key != anyClient && !isKey(key) {
			report("curve.allowed_clients", "%q is no CURVE key: use the 40 characters of a public key", key)
		}
	}
	return public, problems
}

// z85 are the characters of a key in text.
const z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

func isKey(s string) bool {
	return len(s) == 40 && strings.Trim(s, z85) == ""
}
