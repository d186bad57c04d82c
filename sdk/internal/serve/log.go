package serve

import (
	"io"
	"log"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/sdk/plugin"
)

// newLogger writes JSON lines, which the node takes into its own log with their
// levels.
func newLogger(w io.Writer) hclog.Logger {
	level := hclog.LevelFromString(os.Getenv(plugin.EnvLogLevel))
	if level == hclog.NoLevel {
		level = hclog.Debug
	}
	return hclog.New(&hclog.LoggerOptions{Output: w, JSONFormat: true, Level: level})
}

// captureLogs has everything that logs by the packages log, slog or hclog write
// to the logger.
func captureLogs(logger hclog.Logger) {
	hclog.SetDefault(logger)
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(lines{logger})
}

// lines logs each line that the package log writes, at the level that stands
// before it: "[ERROR] …" as is common with log, "ERROR …" as slog writes.
type lines struct{ logger hclog.Logger }

// Write implements io.Writer.
func (l lines) Write(b []byte) (int, error) {
	level, text := levelOf(strings.TrimRight(string(b), "\n"))
	l.logger.Log(level, text)
	return len(b), nil
}

func levelOf(line string) (hclog.Level, string) {
	word, rest, _ := strings.Cut(line, " ")
	switch strings.Trim(word, "[]:") {
	case "TRACE":
		return hclog.Trace, rest
	case "DEBUG":
		return hclog.Debug, rest
	case "INFO":
		return hclog.Info, rest
	case "WARN", "WARNING":
		return hclog.Warn, rest
	case "ERR", "ERROR":
		return hclog.Error, rest
	default:
		return hclog.Info, line
	}
}
