package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel/inspect"
)

func TestOperatorLogVerify(t *testing.T) {
	dir := offlineNode(t)
	path := inspect.Path(dir, "orders")
	h := newHarness(t, success)
	verify := func(args ...string) result {
		return h.run(append([]string{"operator", "log", "verify", "-path=" + path}, args...)...)
	}
	r := verify()
	for _, part := range []string{"Directory:", path, "01000000000000000000000000000000", "bolt", "LSN 1 to 3, 3 records in 1 segment", "LSN 3, 1 cell", "Result:     sound"} {
		if r.status != exitDone || !contains(r.stdout, part) {
			t.Errorf("no %q in %+v", part, r)
		}
	}
	var report inspect.Report
	decode(t, verify("-json").stdout, &report)
	if report.Log.Records != 3 || report.Tree.Cells != 1 || len(report.Problems) != 0 {
		t.Errorf("%+v", report)
	}

	meta := filepath.Join(path, "meta.json")
	b, err := os.ReadFile(meta)
	if err == nil {
		err = os.WriteFile(meta, []byte(strings.Replace(string(b), "bolt", "lmdb", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r = verify()
	if r.status != exitFailed || !contains(r.stdout, "1 problem") || !contains(r.stdout, "WHERE  PROBLEM\nmeta   ") || !contains(r.stdout, "checksum") {
		t.Errorf("%+v", r)
	}
	r = verify("-json")
	decode(t, r.stdout, &report)
	if r.status != exitFailed || len(report.Problems) != 1 || report.Problems[0].Where != "meta" {
		t.Errorf("%+v", r)
	}
	if err := os.WriteFile(filepath.Join(path, "quarantine"), []byte("it has killed the process\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(); !contains(r.stdout, "Quarantined:  it has killed the process") {
		t.Errorf("%+v", r)
	}
	h.run("operator", "log", "verify", "-path="+filepath.Join(dir, "none")).want(t, exitFailed, "", "none")
}
