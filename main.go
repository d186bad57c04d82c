// Command unisondb runs UnisonDB's nodes and talks to them.
package main

import (
	"os"

	"github.com/unisondb/unisondb/command"
)

// Set by the linker: -ldflags "-X main.version=… -X main.commit=… -X main.date=…".
var (
	version string
	commit  string
	date    string
)

func main() {
	command.CaptureStandardLog(os.Stderr)
	os.Exit(command.Run(command.Process{
		Program: os.Args[0],
		Args:    os.Args[1:],
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Env:     os.LookupEnv,
		Build:   command.Build{Version: version, Commit: commit, Date: date},
	}))
}
