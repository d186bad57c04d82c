package command

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server/diagnose"
)

// unpack reads an archive, and checks that only its owner may.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "unisondb-debug/")] = string(b)
	}
}

// What the node and its configuration know and others must not.
const (
	secretOfFile  = "s3cret-of-a-file"
	secretOfEnv   = "s3cret-of-the-environment"
	secretByName  = "s3cret-by-its-name"
	secretInURL   = "s3cret-in-a-url"
	secretOfNode  = "s3cret-of-the-node"
	secretOfToken = "s3cret-of-the-token"
)

func debugConfig(t *testing.T, dir string) string {
	t.Helper()
	return file(t, fmt.Sprintf(`
node_id = "hub-1"
data_dir = %q
namespace "orders" {}
notifier "webhook" "out" {
  namespaces = ["orders"]
  config {
    url     = "https://me:%s@example.com/hook"
    secret  = file(%q)
    timeout = "5s"
  }
}
notifier "mqtt" "broker" {
  namespaces = ["orders"]
  config {
    broker   = "mqtts://broker:1883"
    topic    = "of/%s"
    username = env("WHO")
    password = %q
  }
}
`, dir, secretInURL, file(t, secretOfFile+"\n"), "orders", secretByName))
}

func TestOperatorDebug(t *testing.T) {
	dir := offlineNode(t)
	h := newHarness(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/status":
			answer(http.StatusOK, fmt.Sprintf(`{"node_id":"hub-1","api_token":%q,"reason":"it got %s","count":12345}`, secretOfNode, secretOfEnv))(w, r)
		case "/v1/debug/goroutines":
			answerBytes(http.StatusOK, "goroutine 1 [running]:\n"+secretOfFile)(w, r)
		case "/v1/debug/heap":
			answerBytes(http.StatusOK, "\x1f\x8bprofile")(w, r)
		case "/metrics":
			answerBytes(http.StatusOK, "unisondb_up 1\n")(w, r)
		default:
			answer(http.StatusNotFound, `{"error":"no such route","code":"ROUTE_NOT_FOUND"}`)(w, r)
		}
	})
	h.env["WHO"], h.env[envToken] = secretOfEnv, secretOfToken
	out := filepath.Join(t.TempDir(), "debug.tar.gz")
	r := h.run("operator", "debug", "-config="+debugConfig(t, dir), "-out="+out)
	r.want(t, exitDone, "", "could not be had", "Wrote "+out)
	files := unpack(t, out)
	for name, parts := range map[string][]string{
		"index.json":          {`"node/status.json"`, "no such route"},
		"machine.json":        {`"version": "1.2.3"`},
		"configuration.json":  {`"hub-1"`, "example.com/hook", `"of/orders"`, `"5s"`, redacted},
		"diagnosis.json":      {`"data directory"`, `"orders: LSN 1 to 3"`},
		"node/status.json":    {`"hub-1"`, `"api_token": "` + redacted + `"`, "it got " + redacted, "12345"},
		"node/goroutines.txt": {"goroutine 1"},
		"node/metrics.txt":    {"unisondb_up 1\n"},
		"node/heap.pprof":     {"\x1f\x8bprofile"},
	} {
		for _, part := range parts {
			if !strings.Contains(files[name], part) {
				t.Errorf("%s has no %q:\n%s", name, part, files[name])
			}
		}
	}
	for name, content := range files {
		if strings.Contains(content, "s3cret") {
			t.Errorf("a secret is in %s:\n%s", name, content)
		}
	}
}

// Where no node answers and the configuration is bad there is an archive all the same.
func TestOperatorDebugOffline(t *testing.T) {
	h := newHarness(t, success)
	h.env[envAddress] = "http://127.0.0.1:1"
	out := filepath.Join(t.TempDir(), "debug.tar.gz")
	bad := file(t, "nonsense = "+`"x"`+"\n")
	r := h.run("operator", "debug", "-config="+bad, "-out="+out, "-json")
	var report struct {
		File  string
		Files []struct{ Name, Error string }
	}
	decode(t, r.stdout, &report)
	if r.status != exitDone || report.File != out {
		t.Errorf("%+v", r)
	}
	files := unpack(t, out)
	if len(files) != 3 || !contains(files["index.json"], "no node answers at http://127.0.0.1:1") || !contains(files["diagnosis.json"], "nonsense") {
		t.Errorf("%v", files)
	}
	h.run("operator", "debug", "-out="+filepath.Join(t.TempDir(), "none", "x")).want(t, exitFailed, "", "none")
}

// debug takes an archive of a hub that runs.
func (g *operatorGroup) debug() {
	hub := g.hubs[1]
	out := filepath.Join(g.t.TempDir(), "debug.tar.gz")
	var report struct {
		Files []struct{ Name, Error string }
	}
	g.json(hub, &report, "operator", "debug", "-data-dir="+hub.Config.DataDir, "-out="+out)
	for _, f := range report.Files {
		if f.Error != "" && f.Name != "configuration.json" && f.Name != "node/metrics.txt" {
			g.t.Errorf("%+v", f)
		}
	}
	files := unpack(g.t, out)
	var diagnosis diagnose.Report
	decode(g.t, files["diagnosis.json"], &diagnosis)
	if !diagnosis.Running || !contains(files["node/goroutines.txt"], "goroutine ") || !contains(files["group/raft-peers.json"], "leader") || !strings.HasPrefix(files["node/heap.pprof"], "\x1f\x8b") {
		g.t.Errorf("%+v", files)
	}
}
