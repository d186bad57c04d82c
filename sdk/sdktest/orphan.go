package sdktest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// orphan checks that a program ends by itself when the node that started it was
// killed. A shell plays the node: it starts the program, says its number, and waits.
func orphan(t *testing.T, path string) {
	sockets := socketDir(t)
	node := exec.Command("/bin/sh", "-c", `"$1" & echo "pid $!"; wait`, "sh", path)
	node.Env = append(environment(sockets),
		plugin.Handshake.MagicCookieKey+"="+plugin.Handshake.MagicCookieValue,
		fmt.Sprintf("PLUGIN_PROTOCOL_VERSIONS=%d", plugin.Version1))
	out, written, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(out)
	node.Stdout = written
	err = node.Start()
	closeQuietly(written)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	pid, lines, err := awaitHandshake(bufio.NewReader(out))
	if killing := node.Process.Kill(); killing != nil {
		t.Fatal(killing)
	}
	_ = node.Wait() // it was killed
	if err != nil {
		kill(pid)
		t.Fatalf("the program didn't come up: %v", err)
	}
	// The program alone holds the pipe open.
	if _, err := io.Copy(io.Discard, lines); err != nil {
		kill(pid)
		t.Errorf("the program outlived its node by %v: look for a new parent, as Serve does (%v)", patience, err)
	}
}

// awaitHandshake reads until the shell has said the program's number and the
// program where it listens.
func awaitHandshake(r *bufio.Reader) (pid int, rest *bufio.Reader, err error) {
	listens := false
	for pid == 0 || !listens {
		line, err := r.ReadString('\n')
		if err != nil {
			return pid, r, fmt.Errorf("read its first line: %w", err)
		}
		if _, err := fmt.Sscanf(line, "pid %d", &pid); err != nil {
			if !strings.Contains(line, "|grpc") {
				return pid, r, fmt.Errorf("it says %q instead of where it listens", line)
			}
			listens = true
		}
	}
	return pid, r, nil
}

// kill leaves nothing running behind a failed test.
func kill(pid int) {
	if pid > 0 && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
