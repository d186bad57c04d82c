// The notifier-file appends each change as a line of JSON to a file: the
// smallest notifier that loses nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

func main() { notifier.Serve(program()) }

// program is all that there is to say about the notifier.
func program() notifier.Program {
	return notifier.Program{
		Info: plugin.Info{
			Name: "file", Version: "1.0.0",
			Description: "appends changes to a file, one line of JSON each",
		},
		Config:   config{Sync: true},
		Notifier: &file{},
	}
}

// config is the configuration with its defaults.
type config struct {
	Path string `config:"path,required" doc:"the file, which is made where it is missing"`
	Sync bool   `config:"sync" doc:"wait until the lines are on the disk"`
}

// file is the notifier.
type file struct {
	config config

	mu   sync.Mutex // batches of several namespaces come at once
	file *os.File
	size int64 // of what was accepted
}

// Configure implements notifier.Notifier.
func (n *file) Configure(_ context.Context, c plugin.Config) error {
	n.config = config{Sync: true}
	if err := c.Decode(&n.config); err != nil {
		return err
	}
	f, err := os.OpenFile(n.config.Path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return plugin.Problems{{Path: "path", Message: err.Error() + ": name a file that the node may write"}}
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at the file: %w", err)
	}
	n.file, n.size = f, info.Size()
	c.Logger.Info("appending", "path", n.config.Path, "bytes", n.size)
	return nil
}

// Notify implements notifier.Notifier.
func (n *file) Notify(_ context.Context, b notifier.Batch) (notifier.Result, error) {
	var lines []byte
	for i := range b.Events {
		lines = append(b.Message(i).AppendJSON(lines), '\n')
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.append(lines); err != nil {
		// Nothing of the batch counts: the node sends all of it again.
		return notifier.Result{}, fmt.Errorf("append to %s: %w", n.config.Path, err)
	}
	return notifier.Result{}, nil // everything is accepted
}

// append adds lines to the file, all or none.
func (n *file) append(lines []byte) error {
	// What a failed try left behind goes first.
	if err := n.file.Truncate(n.size); err != nil {
		return err
	}
	if _, err := n.file.Write(lines); err != nil {
		return err
	}
	if n.config.Sync {
		if err := n.file.Sync(); err != nil {
			return err
		}
	}
	n.size += int64(len(lines))
	return nil
}

// Close implements notifier.Notifier.
func (n *file) Close(context.Context) error { return n.file.Close() }
