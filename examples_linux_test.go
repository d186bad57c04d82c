package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The examples are run as a reader runs them, each in a network namespace of its own, since
// their addresses are fixed.

// exampleAtATime bounds how many examples run beside each other: each has several nodes.
var exampleAtATime = make(chan struct{}, 2)

// topologies are the deployments of the design.
var topologies = []string{"single-server", "primary-and-replicas", "hub-and-spoke", "multi-hub", "multi-hop", "hybrid"}

// exampleScripts finds the examples that can be run.
func exampleScripts(t *testing.T) []string {
	t.Helper()
	scripts, err := filepath.Glob("examples/*/run.sh")
	if err != nil || len(scripts) < len(topologies) {
		t.Fatalf("the examples aren't found: %v, %v", scripts, err)
	}
	return scripts
}

// script is a run.sh that is under way. It leads a group of processes.
type script struct {
	*exec.Cmd
	t    *testing.T
	out  *lockedBuffer
	temp string     // where it makes temporary files
	end  chan error // how it ended
}

// startScript starts a run.sh in a network namespace of its own.
func startScript(t *testing.T, unisondb, path string, args ...string) *script {
	t.Helper()
	s := &script{Cmd: exec.Command(path, args...), t: t, out: &lockedBuffer{}, temp: t.TempDir(), end: make(chan error, 1)}
	s.Env = append(os.Environ(), "UNISONDB="+unisondb, "TMPDIR="+s.temp, "DATA=")
	s.Stdout, s.Stderr = s.out, s.out
	s.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.WaitDelay = patience // for a process that was left behind and has the output open
	if err := newNetspace(t).start(s.Cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.end <- s.Wait()
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-s.Process.Pid, syscall.SIGKILL) // there is nothing, if all went well
		<-ended
	})
	return s
}

// ended waits for the end, which must come with a status, and leave nothing behind.
func (s *script) ended(status int) {
	s.t.Helper()
	select {
	case err := <-s.end:
		if s.ProcessState.ExitCode() != status {
			s.t.Fatalf("%s ended with %v, expected the status %d\n%s", s.Path, err, status, s.out)
		}
	case <-time.After(4 * patience):
		s.t.Fatalf("%s has no end\n%s", s.Path, s.out)
	}
	if err := syscall.Kill(-s.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		s.t.Errorf("%s left processes behind: %v", s.Path, err)
	}
	files, err := filepath.Glob(filepath.Join(s.temp, "tmp.*"))
	if err != nil || len(files) > 0 {
		s.t.Errorf("%s left files behind: %v, %v", s.Path, files, err)
	}
}

// prints waits until the script has printed a text.
func (s *script) prints(text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 4*patience)
	defer cancel()
	err := poll(ctx, func() (bool, error) {
		select {
		case err := <-s.end:
			return false, fmt.Errorf("it has ended: %w", err)
		default:
			return strings.Contains(s.out.String(), text), nil
		}
	})
	if err != nil {
		s.t.Fatalf("%s never printed %q: %v\n%s", s.Path, text, err, s.out)
	}
}

// buildExample compiles an example's programs where modules can be downloaded, so that its
// script finds them in the build cache.
func buildExample(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); errors.Is(err, os.ErrNotExist) {
		return
	}
	cmd := exec.Command("go", "build", "-o", t.TempDir()+string(filepath.Separator), "./...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", dir, err, out)
	}
}

// TestExamples runs every example, with all that it checks.
func TestExamples(t *testing.T) {
	t.Parallel()
	scripts := exampleScripts(t)
	unisondb := buildInstallation(t)
	for _, path := range scripts {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			exampleAtATime <- struct{}{}
			defer func() { <-exampleAtATime }()
			buildExample(t, dir)
			start := time.Now()
			s := startScript(t, unisondb, path, "-once")
			s.ended(0)
			if !strings.HasSuffix(s.out.String(), "\nok\n") {
				t.Errorf("it doesn't end with ok:\n%s", s.out)
			}
			t.Logf("%v\n%s", time.Since(start).Round(time.Millisecond), s.out)
		})
	}
}

// TestExampleInterrupted has an example run until Ctrl-C, as it does without -once.
func TestExampleInterrupted(t *testing.T) {
	t.Parallel()
	s := startScript(t, buildInstallation(t), "examples/multi-hop/run.sh")
	s.prints("until Ctrl-C")
	if err := s.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.ended(130)
	if strings.Contains(s.out.String(), "the end of") {
		t.Errorf("an interruption is taken for a failure:\n%s", s.out)
	}
}

// TestExampleFails breaks what an example relies on, in every way that the library of the scripts
// knows: it must end with status 1, say what is wrong, show the logs, and stop all it started.
func TestExampleFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, says string }{
		"a check":           {`run other cat /proc/self/stat; join other; check "one is two" [ 1 = 2 ]`, "this doesn't hold: one is two: [ 1 = 2 ]"},
		"a command":         {`run other echo hello; join other; false`, "the end of other.log\nhello"},
		"a program":         {`run other sh -c 'echo hello; exit 3'; join other || fail "status $?"`, "status 3"},
		"a node":            {`start server broken; ready http://127.0.0.1:1`, "the node broken has ended"},
		"a text":            {`patience=1; expect there printf here`, "its output never had: there"},
		"what comes to be":  {`patience=1; await "nothing" false`, "this didn't work: false"},
		"what is paused":    {`run other sh -c 'echo up; exec sleep 1000'; await up grep up "$DATA/other.log"; pause other; fail "on purpose"`, "on purpose"},
		"a name":            {`run other true; stop another`, "another doesn't run"},
		"a name twice":      {`run other sleep 1000; run other sleep 1000`, "other runs already"},
		"killed and others": {`run my-other sleep 1000; run other sleep 1000; kill9 other; kill -0 "${started##*=}" && fail "my-other lives"`, "my-other lives"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lib, err := os.ReadFile("examples/lib.sh")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "example", "run.sh")
			for path, text := range map[string]string{
				filepath.Join(dir, "lib.sh"):                string(lib),
				filepath.Join(dir, "example", "broken.hcl"): "no_such_key = 1\n",
				path: "#!/bin/sh\n. \"$(dirname \"$0\")/../lib.sh\"\nbegin \"$@\"\n" + c.script + "\nfinish\n",
			} {
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
					t.Fatal(err)
				}
			}
			s := startScript(t, buildBinary(t), path, "-once")
			s.ended(1)
			if !strings.Contains(s.out.String(), c.says) {
				t.Errorf("it doesn't say %q:\n%s", c.says, s.out)
			}
		})
	}
}

// TestTopologies holds each deployment of the design against what a reader expects to find.
func TestTopologies(t *testing.T) {
	t.Parallel()
	box := regexp.MustCompile(`(?s)` + "```text\n" + `[^` + "`" + `]*┌[^` + "`" + `]*┘`)
	for _, name := range topologies {
		dir := filepath.Join("examples", name)
		readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Errorf("%s has no page: %v", dir, err)
			continue
		}
		if !box.Match(readme) {
			t.Errorf("%s/README.md has no diagram in a text block", dir)
		}
		if lines := strings.Count(string(readme), "\n"); lines > 50 {
			t.Errorf("%s/README.md has %d lines, which is more than a screen", dir, lines)
		}
		for _, command := range []string{dir + "/run.sh", "-once"} {
			if !strings.Contains(string(readme), command) {
				t.Errorf("%s/README.md doesn't say how to run it: %s", dir, command)
			}
		}
		for _, path := range []string{filepath.Join(dir, "run.sh"), filepath.Join("website", "topologies", name+".md")} {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%v", err)
			}
		}
	}
}

// TestExampleConfigurations has the program load every configuration of the examples, each by itself.
func TestExampleConfigurations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("examples/*/*.hcl")
	if err != nil || len(files) < len(topologies) {
		t.Fatalf("the configurations aren't found: %v, %v", files, err)
	}
	unisondb := buildBinary(t)
	for _, file := range files {
		cmd := exec.Command(unisondb, "config", "validate", file)
		cmd.Env = append(os.Environ(), "DATA=data", "HOOK_SECRET=secret")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}
