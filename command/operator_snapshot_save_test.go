package command

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

func TestOperatorSnapshotSave(t *testing.T) {
	content := emptySnapshot(t)
	name := filepath.Join(t.TempDir(), "topology.snap")
	h := newHarness(t, answerBytes(http.StatusOK, string(content)))
	h.run("operator", "snapshot", "save", name).want(t, exitDone, "", "Saved the state of index")
	h.last().want(t, "GET", "/v1/snapshot")
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("saved %d bytes of %d: %v", len(got), len(content), err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600: %v", info.Mode(), err)
	}
	for what, node := range map[string]http.HandlerFunc{
		"damage":  answerBytes(http.StatusOK, string(append(content[:len(content)-1:len(content)-1], '?'))),
		"a page":  answerBytes(http.StatusOK, "<html>hello, this is somebody else's page, and a long one at that</html>"),
		"no node": answer(http.StatusServiceUnavailable, `{"error":"no leader at the moment","code":"NO_LEADER"}`),
		"a cut": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(content[:len(content)-1])
			panic(http.ErrAbortHandler)
		},
	} {
		other := filepath.Join(t.TempDir(), "other.snap")
		r := newHarness(t, node).run("operator", "snapshot", "save", other)
		if _, err := os.Stat(other); r.status != exitFailed || !os.IsNotExist(err) {
			t.Errorf("%s: %+v, file: %v", what, r, err)
		}
		t.Logf("%s: %s", what, r.stderr)
	}
}

func (g *operatorGroup) snapshotSave() {
	var got snapshotFile
	g.json(g.hubs[1], &got, "operator", "snapshot", "save", g.snapshot)
	if info, err := os.Stat(g.snapshot); err != nil || info.Size() != got.Bytes || got.Path != g.snapshot || got.Index == 0 {
		g.t.Errorf("saved %+v: %v, %v", got, info, err)
	}
}
