package command

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Build says what was built. The linker fills it in.
type Build struct {
	Version string
	Commit  string
	Date    string // RFC 3339
}

// withDefaults fills in what the Go toolchain knows of a binary that was built
// without the linker's flags.
func (b Build) withDefaults() Build {
	b.Version = cmp.Or(b.Version, "0.0.0-dev")
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		case "vcs.time":
			b.Date = cmp.Or(b.Date, s.Value)
		}
	}
	return b
}

// String is the version in one line.
func (b Build) String() string {
	return fmt.Sprintf("UnisonDB %s (commit %s, built %s, %s %s/%s)",
		b.Version, cmp.Or(b.Commit, "unknown"), cmp.Or(b.Date, "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

type versionCommand struct {
	*Meta
}

func (c *versionCommand) spec() spec {
	return spec{
		synopsis: "Print the version of this program",
		about:    "Prints version, commit, build date, Go version and platform. The version of a running node is in 'unisondb status'.",
		examples: []string{
			"unisondb version",
			"unisondb version -json",
		},
	}
}

func (c *versionCommand) flags(fs *flag.FlagSet) { c.jsonFlag(fs) }

func (c *versionCommand) run(context.Context, []string) error {
	if !c.asJSON {
		return c.print([]byte(c.build.String() + "\n"))
	}
	return c.printJSON(struct {
		Version   string `json:"version"`
		Commit    string `json:"commit"`
		Date      string `json:"date"`
		GoVersion string `json:"go_version"`
		Platform  string `json:"platform"`
	}{c.build.Version, c.build.Commit, c.build.Date, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
}
