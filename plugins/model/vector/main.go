// Command model-vector is the data model "vector": sets of named vectors with
// metadata and search for the nearest. A node starts it; it does nothing by hand.
package main

import (
	"github.com/unisondb/unisondb/sdk/datamodel"

	"github.com/unisondb/unisondb/plugins/model/vector/internal/model"
)

// version is set by the build.
var version = "0.1.0-dev"

func main() { datamodel.Serve(model.Program(version)) }
