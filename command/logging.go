package command

import (
	"io"
	"log"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/config"
)

// newLogger makes a node's logger. All of its lines go to standard error.
func newLogger(w io.Writer, c config.Log) hclog.Logger {
	level := hclog.LevelFromString(c.Level)
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	return hclog.New(&hclog.LoggerOptions{Name: Name, Level: level, Output: w, JSONFormat: c.Format == "json"})
}

// CaptureStandardLog sends what libraries write to Go's standard logger through
// ours, so that a log of JSON is JSON throughout. It is done before anything
// starts, and again when a node's own logger is known.
func CaptureStandardLog(w io.Writer) { captureStandardLog(newLogger(w, config.Log{})) }

func captureStandardLog(l hclog.Logger) {
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(l.Named("stdlib").StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true}))
}
