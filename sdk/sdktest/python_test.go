package sdktest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/unisondb/unisondb/sdk/notifier"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
	"github.com/unisondb/unisondb/sdk/sdktest"
)

var update = flag.Bool("update", false, "write examples/notifier-python/plugin.binpb anew")

const pythonExample = "../../examples/notifier-python"

// TestPythonDescriptor: the example in Python speaks the plugin.proto of today.
func TestPythonDescriptor(t *testing.T) {
	path := filepath.Join(pythonExample, "plugin.binpb")
	want := &descriptorpb.FileDescriptorSet{
		File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(pluginv1.File_plugin_v1_plugin_proto)},
	}
	if *update {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("%s isn't what plugin.proto says: in sdk, run go test ./sdktest -run TestPythonDescriptor -update", path)
	}
}

// TestPython runs the suite for notifiers on the example in Python.
func TestPython(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-B", "-c", "import grpc, google.protobuf, cryptography").CombinedOutput(); err != nil {
		t.Skipf("%s lacks what the example needs: apt-get install python3-grpcio python3-protobuf python3-cryptography: %v: %s", python, err, out)
	}
	var path string
	sdktest.NotifierProgram(t, filepath.Join(pythonExample, "notifier-python"), sdktest.NotifierOptions{
		Config: func(t *testing.T) map[string]any {
			path = filepath.Join(t.TempDir(), "changes.jsonl")
			return map[string]any{"path": path}
		},
		BadConfigs: []sdktest.BadConfig{
			{Name: "no path", Config: map[string]any{}, Path: "path"},
			{Name: "a path that can't be", Config: map[string]any{"path": "/dev/null/file"}, Path: "path"},
		},
		Received: func(t *testing.T) []notifier.Message { return readLines(t, path) },
	})
}

// readLines reads messages from a file, one a line.
func readLines(t *testing.T, path string) []notifier.Message {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var messages []notifier.Message
	for line := range bytes.Lines(b) {
		var m notifier.Message
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		messages = append(messages, m)
	}
	return messages
}
