// Program notifier-webhook posts a namespace's changes to an HTTP receiver, in
// signed batches of JSON, in order by key.
package main

import (
	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// version is stamped in by the build.
var version = "0.1.0-dev"

func main() { notifier.Serve(program()) }

func program() notifier.Program {
	return notifier.Program{
		Info: plugin.Info{
			Name: "webhook", Version: version,
			Description: "posts changes to an HTTP receiver in signed batches of JSON",
		},
		Config:   defaults(),
		Notifier: &webhook{version: version},
	}
}
