package sdktest

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// UpdateSchema is the environment variable that has SchemaFile write instead of compare.
const UpdateSchema = "UPDATE_SCHEMA"

// SchemaFile holds a file against the schema of a plugin's configuration, whose defaults are what the program's
// Config is. A committed file shows in a review what users will notice, and documentation can be
// made of it. With the environment variable UPDATE_SCHEMA set it writes the file.
func SchemaFile(t *testing.T, defaults any, path string) {
	t.Helper()
	schema, err := plugin.SchemaOf(defaults)
	if err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	// protojson's spaces differ from build to build on purpose.
	var tidy bytes.Buffer
	if err := json.Indent(&tidy, compact(t, text), "", "  "); err != nil {
		t.Fatal(err)
	}
	tidy.WriteByte('\n')
	if os.Getenv(UpdateSchema) != "" {
		if err := os.WriteFile(path, tidy.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	committed, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%v: run the test with %s=1 in the environment, which writes it", err, UpdateSchema)
	} else if !bytes.Equal(committed, tidy.Bytes()) {
		t.Errorf("%s isn't the schema of the configuration: run the test with %s=1 in the environment, which writes it; it is\n%s", path, UpdateSchema, tidy.Bytes())
	}
}

func compact(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
