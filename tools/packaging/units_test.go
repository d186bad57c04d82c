package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/command"
	"github.com/unisondb/unisondb/server/config"
)

var roles = []string{config.RoleHub, config.RoleRelayer}

func unitName(role string) string { return "unisondb-" + role + ".service" }

// settings are the lines of a unit's sections that say something.
func settings(t *testing.T, role string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(read(t, "tools/packaging/"+unitName(role))) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestUnitsAreRight asks systemd, with the program where the units look for it.
func TestUnitsAreRight(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here, which comes with systemd")
	}
	for _, role := range roles {
		t.Run(role, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, "unisondb")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			unit := filepath.Join(dir, unitName(role))
			text := strings.ReplaceAll(read(t, "tools/packaging/"+unitName(role)), "/usr/local/bin/unisondb", program)
			if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v: %s", err, out)
			}
			// 1.2 of 10 at systemd 252, which is the less the better.
			if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--threshold=20", unit).CombinedOutput(); err != nil {
				t.Errorf("the unit is exposed: %v: %s", err, out)
			}
		})
	}
}

// TestUnitsRunTheProgram: their commands are commands of the program, on the files that are installed.
func TestUnitsRunTheProgram(t *testing.T) {
	for _, role := range roles {
		commands := 0
		for _, line := range settings(t, role) {
			_, rest, ok := strings.Cut(line, "=/usr/local/bin/unisondb ")
			if !ok {
				continue
			}
			commands++
			if err := command.Check(strings.Fields(rest)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if file := "/etc/unisondb/" + role + ".hcl"; !strings.HasSuffix(rest, file) {
				t.Errorf("%s: it doesn't read %s", line, file)
			}
		}
		if commands != 3 { // before the start, the start, before a reload
			t.Errorf("the %s's unit runs the program %d times, want 3", role, commands)
		}
	}
}

// TestUnitsDifferInTheirRole and in how long they are started again; what protects the one protects the other.
func TestUnitsDifferInTheirRole(t *testing.T) {
	plain := func(role string) []string {
		var lines []string
		for _, line := range settings(t, role) {
			if strings.HasPrefix(line, "StartLimit") || strings.HasPrefix(line, "RestartSec=") {
				continue
			}
			lines = append(lines, strings.NewReplacer(role, "ROLE", "unisondb server", "unisondb ROLE", "unisondb-server", "unisondb-ROLE").Replace(line))
		}
		return lines
	}
	hub, relayer := plain(roles[0]), plain(roles[1])
	if !slices.Equal(hub, relayer) {
		t.Errorf("they differ:\n%s\n\n%s", strings.Join(hub, "\n"), strings.Join(relayer, "\n"))
	}
}

// TestUnitsLetPluginsWork holds what was seen to break them, and the node's own end.
func TestUnitsLetPluginsWork(t *testing.T) {
	for _, role := range roles {
		all := settings(t, role)
		for _, want := range []string{
			"Type=notify", "NotifyAccess=main",
			"KillMode=mixed",     // else the plugins end before they have delivered
			"OOMPolicy=continue", // else the end of a plugin is the end of the node
			"PrivateTmp=yes",     // where the sockets to plugins are
			"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK", // libzmq lists the interfaces
			"StateDirectory=unisondb", "User=unisondb",
		} {
			if !slices.Contains(all, want) {
				t.Errorf("the %s's unit lacks %s", role, want)
			}
		}
		for _, line := range all {
			if strings.HasPrefix(line, "SystemCallFilter=~") && strings.Contains(line, "@resources") {
				t.Errorf("%s: libzmq can't schedule its threads", line)
			}
			if strings.HasPrefix(line, "ProcSubset=pid") {
				t.Errorf("%s: the node can't tell how much memory there is", line)
			}
		}
	}
}

// TestSamples load, each for its role.
func TestSamples(t *testing.T) {
	for file, role := range map[string]string{"hub.hcl": config.RoleHub, "relayer.hcl": config.RoleRelayer, "container.hcl": config.RoleHub} {
		cfg, err := config.Load([]string{file}, config.LoadOptions{Role: role})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if err := cfg.HTTP.CheckExposure("http"); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if err := cfg.GRPC.CheckExposure("grpc"); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if cfg.DataDir != "/var/lib/unisondb" {
			t.Errorf("%s keeps its data in %s, which the units and the image don't make", file, cfg.DataDir)
		}
	}
}
