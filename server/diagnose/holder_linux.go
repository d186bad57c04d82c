package diagnose

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listening is the state of a socket that listens, in /proc/net/tcp.
const listening = "0A"

// holder names the process that listens at an address, as far as this user may know.
func holder(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "another process"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "another process"
	}
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		addSockets(sockets, table, fmt.Sprintf(":%04X", number))
	}
	if name := ownerOf(sockets); name != "" {
		return name
	}
	return "a process that this user may not look at"
}

// addSockets adds the inodes of the sockets of a table that listen at a port.
func addSockets(sockets map[string]bool, table, port string) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }() // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], port) && fields[3] == listening {
			sockets["socket:["+fields[9]+"]"] = true
		}
	}
}

// ownerOf finds the process that has one of the sockets.
func ownerOf(sockets map[string]bool) string {
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil && sockets[to] {
			process := filepath.Dir(filepath.Dir(file))
			name, err := os.ReadFile(filepath.Join(process, "comm"))
			if err != nil {
				return ""
			}
			return fmt.Sprintf("process %s (%s)", filepath.Base(process), strings.TrimSpace(string(name)))
		}
	}
	return ""
}
