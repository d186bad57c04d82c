package command

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/unisondb/unisondb/server/diagnose"
)

func TestOperatorDiagnose(t *testing.T) {
	dir := offlineNode(t)
	if err := os.RemoveAll(filepath.Join(dir, "namespaces", "orders")); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, success)
	run := func(hcl string, args ...string) result {
		return h.run(append([]string{"operator", "diagnose", "-config=" + file(t, fmt.Sprintf("data_dir = %q\n%s", dir, hcl))}, args...)...)
	}
	r := run("")
	if r.status == exitFailed || !contains(r.stdout, "STATE    STEP") || !contains(r.stdout, "no node runs on "+dir) {
		t.Errorf("%+v", r)
	}
	r = run("namespace \"orders\" {\n notifier \"zeromq\" {\n bind_port = 5555\n }\n}\n", "-json")
	var report diagnose.Report
	decode(t, r.stdout, &report)
	if r.status != exitFailed || report.State != diagnose.Fail || report.DataDir != dir || report.Running {
		t.Errorf("%+v", r)
	}
	r = run("nonsense = 1\n")
	if r.status != exitFailed || !contains(r.stdout, "fail     configuration") || !contains(r.stdout, "-> correct the file") {
		t.Errorf("%+v", r)
	}
	// A relayer.json that others may read is something to warn of, and nothing worse.
	if err := os.WriteFile(filepath.Join(dir, "relayer.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "relayer.json"), 0o644); err != nil { //nolint:gosec // that is what is warned of
		t.Fatal(err)
	}
	if r := h.run("operator", "diagnose", "-data-dir="+dir); r.status != exitWarned || !contains(r.stdout, "warn     permissions") {
		t.Errorf("%+v", r)
	}
	h.run("operator", "diagnose").want(t, exitUsage, "", "-config", "-data-dir")
}

// diagnose looks at a hub that runs.
func (g *operatorGroup) diagnose() {
	var report diagnose.Report
	r := g.run(g.hubs[1], "operator", "diagnose", "-data-dir="+g.hubs[1].Config.DataDir, "-json")
	decode(g.t, r.stdout, &report)
	if r.status == exitFailed || !report.Running || len(report.Steps) != 12 {
		g.t.Errorf("%+v", r)
	}
	for _, s := range report.Steps {
		if s.Name == "node.json" && (s.State != diagnose.OK || !contains(s.Findings[0].Found, "node "+g.hubs[1].Config.NodeID+", a hub")) {
			g.t.Errorf("%+v", s)
		}
		if s.Name == "control plane" && s.State != diagnose.OK {
			g.t.Errorf("%+v", s)
		}
	}
}
