package main

import (
	"testing"

	"github.com/unisondb/unisondb/sdk/sdktest"
)

// TestSchema: the reference is made of the file.
func TestSchema(t *testing.T) { sdktest.SchemaFile(t, defaults(), "schema.json") }
