package command

import (
	"runtime"
	"testing"
)

func TestVersion(t *testing.T) {
	h := newHarness(t, success)
	platform := runtime.GOOS + "/" + runtime.GOARCH
	h.run("version").want(t, exitDone, "UnisonDB 1.2.3 (commit abc, built 2030-01-02T03:04:05Z, "+runtime.Version()+" "+platform+")\n")
	h.run("version", "-json").wantJSON(t, exitDone,
		`{"version":"1.2.3","commit":"abc","date":"2030-01-02T03:04:05Z","go_version":"`+runtime.Version()+`","platform":"`+platform+`"}`)
}

func TestBuildWithoutTheLinker(t *testing.T) {
	if b := (Build{}).withDefaults(); b.Version == "" {
		t.Error("a build without flags has no version")
	}
}
