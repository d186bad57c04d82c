package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hcl makes a configuration file and returns its path.
func hcl(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "node.hcl")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestConfigValidate(t *testing.T) {
	h := newHarness(t, success)
	h.env["NODE"] = "from-env"
	good := hcl(t, "node_id = env(\"NODE\")\ndata_dir = \"/var/lib/unisondb\"\n")
	h.run("config", "validate", good).want(t, exitDone, "", "The configuration is valid.")
	h.run("config", "validate", "-json", "-role=hub", good).wantJSON(t, exitDone, `{"valid":true,"diagnostics":[],"not_built":[]}`)
	h.run("config", "validate", "-role=king", good).want(t, exitUsage, "", "-role=king is no role")
	h.run("config", "validate").want(t, exitUsage, "", "PATH... is missing")
}

func TestConfigValidateReportsEveryProblem(t *testing.T) {
	h := newHarness(t, success)
	bad := hcl(t, "nod_id = \"x\"\ndata_dir = \"/d\"\n\nstorage {\n  segment_size = \"many\"\n}\n")
	got := h.run("config", "validate", bad)
	got.want(t, exitFailed, "", bad+":1:1: ", `"node_id"`, bad+":5:", "the configuration has 2 problems")

	got = h.run("config", "validate", "-json", bad)
	var report struct {
		Valid       bool
		Diagnostics []struct {
			File string
			Line int
		}
	}
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatal(err)
	}
	if got.status != exitFailed || report.Valid || len(report.Diagnostics) != 2 || report.Diagnostics[1].Line != 5 || report.Diagnostics[0].File != bad {
		t.Errorf("status %d, %+v", got.status, report)
	}
	h.run("config", "validate", "/does/not/exist").want(t, exitFailed, "", "/does/not/exist")
}

func TestConfigValidateWarnsOfWhatIsNotBuilt(t *testing.T) {
	h := newHarness(t, success)
	later := hcl(t, "data_dir = \"/d\"\n\nacl { enabled = true }\n")
	got := h.run("config", "validate", later)
	if got.status != exitDone || strings.Count(got.stderr, "Warning: ") == 0 {
		t.Skipf("everything in the file is built: %s", got.stderr)
	}
	got = h.run("config", "validate", "-json", later)
	if !strings.Contains(got.stdout, `"not_built": [`+"\n") {
		t.Errorf("got %s", got.stdout)
	}
}
