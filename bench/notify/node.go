package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// bench is what the measurements share: the programs, and the table.
type bench struct {
	options  options
	scenario string
	figures  []figure
	dir      string // with the programs and the nodes' data
}

// newBench builds the programs.
func newBench(ctx context.Context, o options) (_ *bench, err error) {
	dir, err := os.MkdirTemp(o.dir, "unisondb-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("find the sources: %w: run this from within them", err)
	}
	for program, pkg := range map[string]string{
		"unisondb": ".", "plugins/notifier-zeromq": "./plugins/notifier/zeromq", "plugins/notifier-webhook": "./plugins/notifier/webhook",
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, program), pkg)
		cmd.Dir = strings.TrimSpace(string(root))
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("build %s: %w", pkg, err)
		}
	}
	return b, nil
}

func (b *bench) close() error { return os.RemoveAll(b.dir) }

// node is a hub with its plugins.
type node struct {
	client *client.Client // in the namespace "bench"
	cmd    *exec.Cmd
}

// startNode starts a hub with further blocks of configuration, and waits until it
// serves and its plugins are ready.
func (b *bench) startNode(ctx context.Context, blocks string) (_ *node, err error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(data, "node.hcl")
	config := fmt.Sprintf("node_id = \"bench\"\ndata_dir = %q\nlistener \"http\" { address = %q }\nlog { level = \"warn\" }\n%s",
		filepath.Join(data, "data"), address, blocks)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{Address: "http://" + address, Namespace: "bench"})
	if err != nil {
		return nil, err
	}
	n := &node{client: c, cmd: exec.Command(filepath.Join(b.dir, "unisondb"), "server", "-config", file)}
	n.cmd.Stderr = os.Stderr
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.stop())
		}
	}()
	return n, n.awaitReady(ctx)
}

// awaitReady waits until the node and all of its plugins are.
func (n *node) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var state error
	for {
		if state = n.ready(ctx); state == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the node isn't ready: %w", state)
		case <-tick.C:
		}
	}
}

func (n *node) ready(ctx context.Context) error {
	if _, err := n.client.Stats(ctx); err != nil {
		return err
	}
	plugins, err := n.client.Plugins(ctx)
	if err != nil {
		return err
	}
	for _, p := range plugins {
		if p.State != "ready" {
			return fmt.Errorf("plugin %s is %s: %s", p.Name, p.State, p.Reason)
		}
	}
	return nil
}

// stop ends the node as an operator does.
func (n *node) stop() error {
	n.client.Close()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return n.cmd.Wait()
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
