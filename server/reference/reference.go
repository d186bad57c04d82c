// Package reference is what users may look up about a node, as plain data: what the site's reference pages
// are generated from. Each description stands beside what it describes; this package only brings
// together what is spread over packages, and says what no package has a table of.
package reference

import (
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/internal/metrics"
)

// Metric is a metric that a node exports.
type Metric = metrics.Doc

// Metrics are all of a node, but for those of the Go runtime and the process.
func Metrics() []Metric { return metrics.Docs() }

// Blocks are the blocks and keys of the configuration.
func Blocks() ([]config.BlockDoc, error) { return config.Reference() }

// Routes are the requests that a node takes by HTTP.
func Routes() []httpapi.Route { return httpapi.Routes() }

// Codes are the codes of errors that answers of HTTP have.
func Codes() []httpapi.ErrorCode { return httpapi.Codes() }
