package command

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/diagnose"
)

type operatorDebugCommand struct {
	*Meta
	config stringList
	data   string
	out    string
	wait   time.Duration
}

func (c *operatorDebugCommand) spec() spec {
	return spec{
		synopsis: "Make one redacted support archive",
		about: "Collects what somebody needs who is to help with a node into one .tar.gz: a diagnosis of this machine's node, the configuration as the node reads it, and, where a node answers at -address, its status, metrics, plugins, the state of the group of hubs, and, on its own machine, what its goroutines do and a profile of its memory. " +
			"It works where the node doesn't run, too: what can't be had is listed in index.json, with why.\n" +
			"\n" +
			"No data of namespaces is in it. Everything that env() and file() give, and what stands under a name such as secret, password or token, is left out. Look through it before you send it.",
		examples: []string{
			"unisondb operator debug -config=/etc/unisondb",
			"unisondb operator debug -config=/etc/unisondb -out=/tmp/hub-1.tar.gz",
		},
	}
}

func (c *operatorDebugCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	fs.Var(&c.config, "config", "The node's configuration file, or a directory of them, by its `path`; may be repeated.")
	fs.StringVar(&c.data, "data-dir", "", "The node's data `directory`, where there is no configuration.")
	fs.StringVar(&c.out, "out", "", "The `file` to write. Default: unisondb-debug-<time>.tar.gz in this directory.")
	fs.DurationVar(&c.wait, "wait", 10*time.Second, "How long the node may take for each answer, as a `duration`. Default: 10s.")
}

// collected is a file of the archive, or why it isn't there.
type collected struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`

	content []byte
}

// fetched are the files that a node's answers become.
var fetched = []struct{ name, path string }{
	{"node/status.json", "/v1/status"},
	{"node/health.json", "/health"},
	{"node/ready.json", "/ready"},
	{"node/metrics.txt", "/metrics"},
	{"node/plugins.json", "/v1/plugins"},
	{"node/runtime.json", "/v1/debug/runtime"},
	{"node/goroutines.txt", "/v1/debug/goroutines"},
	{"group/hubs.json", "/v1/hubs?stale=true"},
	{"group/raft-peers.json", "/v1/raft/peers?stale=true"},
	{"group/namespaces.json", "/v1/namespaces?stale=true"},
	{"group/relayers.json", "/v1/relayers?stale=true"},
	{"group/topology.json", "/v1/topology?stale=true"},
}

// heapProfile is kept as it stands: it is no text, and holds addresses and names of functions.
const heapProfile = "node/heap.pprof"

func (c *operatorDebugCommand) run(ctx context.Context, _ []string) error {
	if c.out == "" {
		c.out = "unisondb-debug-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	var secrets redactor
	secrets.add(c.connection.Token)
	secrets.add(c.getenv(envToken))
	files := []collected{c.machine(), c.configuration(&secrets), c.diagnosis(ctx)}
	files = append(files, c.answers(ctx, node)...)
	for i, f := range files {
		if f.Name != heapProfile {
			files[i].content = secrets.document(f.content)
		}
		files[i].Error = secrets.text(f.Error)
	}
	index, err := json.MarshalIndent(files, "", "  ")
	if err != nil {
		return localf("encode the index: %w", err)
	}
	files = append([]collected{{Name: "index.json", content: append(index, '\n')}}, files...)
	// What a human still finds in it is for few eyes.
	if err := writeSecretFile(c.out, func(w io.Writer) error { return pack(w, files) }); err != nil {
		return err
	}
	return c.report(files[1:])
}

func (c *operatorDebugCommand) report(files []collected) error {
	missing := 0
	for _, f := range files {
		if f.Error != "" {
			missing++
		}
	}
	if c.asJSON {
		return c.printJSON(struct {
			File  string      `json:"file"`
			Files []collected `json:"files"`
		}{c.out, files})
	}
	if missing > 0 {
		c.message("%s of %d could not be had: index.json in the archive says why.", count(missing, "file"), len(files))
	}
	c.message("Wrote %s. Look through it before you send it.", c.out)
	return nil
}

// collect makes a file of what fill writes.
func collect(name string, fill func(io.Writer) error) collected {
	var b bytes.Buffer
	err := fill(&b)
	f := collected{Name: name, content: b.Bytes()}
	if err != nil {
		f.Error, f.content = err.Error(), nil
	}
	return f
}

func asJSON(v any) func(io.Writer) error {
	return func(w io.Writer) error { return json.NewEncoder(w).Encode(v) }
}

// machine says what this program runs on.
func (c *operatorDebugCommand) machine() collected {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return collect("machine.json", asJSON(map[string]any{
		"version": c.build.Version, "commit": c.build.Commit, "host": host, "os": runtime.GOOS, "arch": runtime.GOARCH,
		"cpus": runtime.NumCPU(), "time": time.Now().UTC().Format(time.RFC3339),
	}))
}

// configuration is that of the node, resolved. What env() and file() gave is told to secrets.
func (c *operatorDebugCommand) configuration(secrets *redactor) collected {
	return collect("configuration.json", func(w io.Writer) error {
		if len(c.config) == 0 {
			return errors.New("no configuration was named")
		}
		cfg, err := config.Load(c.config, config.LoadOptions{Env: c.env, Secret: secrets.add})
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(cfg)
	})
}

func (c *operatorDebugCommand) diagnosis(ctx context.Context) collected {
	return collect("diagnosis.json", func(w io.Writer) error {
		if len(c.config) == 0 && c.data == "" {
			return errors.New("neither a configuration nor a data directory was named")
		}
		return json.NewEncoder(w).Encode(diagnose.Run(ctx, diagnose.Options{Config: c.config, DataDir: c.data, Env: c.env}))
	})
}

// answers are what the node says. Once it can't be reached, it isn't asked again.
func (c *operatorDebugCommand) answers(ctx context.Context, node *client.Client) (files []collected) {
	var gone error
	ask := func(name, path string) {
		f := collect(name, func(w io.Writer) error {
			if gone != nil {
				return gone
			}
			ctx, cancel := context.WithTimeout(ctx, c.wait)
			defer cancel()
			err := node.Fetch(ctx, path, w)
			if errors.Is(err, client.ErrUnreachable) {
				gone = fmt.Errorf("no node answers at %s: %w", node.Address(), err)
				return gone
			}
			return err
		})
		files = append(files, f)
	}
	for _, f := range fetched {
		ask(f.name, f.path)
	}
	ask(heapProfile, "/v1/debug/heap")
	return files
}

// pack writes a .tar.gz of those that are there, in a directory of its own.
func pack(w io.Writer, files []collected) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range files {
		if f.Error != "" {
			continue
		}
		header := &tar.Header{Name: "unisondb-debug/" + strings.TrimPrefix(f.Name, "/"), Mode: 0o600, Size: int64(len(f.content)), ModTime: time.Now()}
		if err := t.WriteHeader(header); err != nil {
			return localf("write the archive: %w", err)
		}
		if _, err := t.Write(f.content); err != nil {
			return localf("write the archive: %w", err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return localf("write the archive: %w", err)
	}
	return nil
}
