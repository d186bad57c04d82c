package packaging_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInstalledHubUnderAServiceManager: the installed program finds its plugins beside itself, and tells what a
// unit of Type=notify waits for.
func TestInstalledHubUnderAServiceManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "packaging") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	hcl := fmt.Sprintf("data_dir = %q\nlistener \"http\" { address = \"127.0.0.1:0\" }\nlistener \"grpc\" { address = \"127.0.0.1:0\" }\nnamespace \"default\" {}\n"+
		"model \"vector\" { namespaces = [\"default\"] }\n", filepath.Join(dir, "data"))
	if err := os.WriteFile(filepath.Join(dir, "hub.hcl"), []byte(hcl), 0o600); err != nil {
		t.Fatal(err)
	}
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()

	program := filepath.Join(installation(t), "usr/bin/unisondb")
	hub := exec.CommandContext(t.Context(), program, "server", "-config="+filepath.Join(dir, "hub.hcl"))
	hub.Env = []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=20000000", "TMPDIR=" + dir}
	hub.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	hub.Stdout, hub.Stderr = &log, &log
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = hub.Process.Kill()
			_ = hub.Wait()
		}
		if t.Failed() {
			t.Logf("the hub's log:\n%s", log.String())
		}
	}()

	_, after, _ := strings.Cut(hears(t, manager, "READY=1"), "HTTP on ")
	address, _, _ := strings.Cut(after, ",")
	hears(t, manager, "WATCHDOG=1")
	ask := func(args ...string) string {
		out, _ := exec.CommandContext(t.Context(), program, append(args, "-address=http://"+address)...).CombinedOutput()
		return string(out)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for plugins := ""; !strings.Contains(plugins, `"state":"ready"`); plugins = ask("operator", "plugin", "list", "-json") {
		if time.Now().After(deadline) {
			t.Fatalf("the plugin isn't ready: %s", plugins)
		}
	}
	for _, reload := range []func(){
		func() { ask("operator", "reload") },
		func() { _ = hub.Process.Signal(syscall.SIGHUP) },
	} {
		reload()
		if m := hears(t, manager, "RELOADING=1"); !strings.Contains(m, "MONOTONIC_USEC=") {
			t.Errorf("it reloads, and says only %q", m)
		}
		hears(t, manager, "READY=1")
	}
	if err := hub.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hears(t, manager, "STOPPING=1")
	ended = true
	if err := hub.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// hears waits for a message with a line.
func hears(t *testing.T, manager *net.UnixConn, line string) string {
	t.Helper()
	if err := manager.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	for {
		n, err := manager.Read(b)
		if err != nil {
			t.Fatalf("%s is never said: %v", line, err)
		}
		if message := string(b[:n]); strings.Contains("\n"+message+"\n", "\n"+line+"\n") {
			return message
		}
	}
}
