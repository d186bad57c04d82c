package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// The deployment of two hubs, as examples/multi-hub has it. Its addresses are fixed, so that
// it runs in a network namespace of its own.

const multiHubDir = "examples/multi-hub"

// multiHub is the example's nodes with the example's own files.
type multiHub struct {
	at   *netspace
	data string
	east, west,
	eastStore, westStore *process
}

func newMultiHub(t *testing.T) *multiHub {
	t.Helper()
	binary := buildBinary(t)
	m := &multiHub{at: newNetspace(t), data: t.TempDir()}
	m.east = m.node(t, binary, "server", "east", "127.0.0.1:4100")
	m.west = m.node(t, binary, "server", "west", "127.0.0.1:4200")
	m.eastStore = m.node(t, binary, "relayer", "east-store", "127.0.0.1:4110")
	m.westStore = m.node(t, binary, "relayer", "west-store", "127.0.0.1:4210")
	return m
}

func (m *multiHub) node(t *testing.T, binary, role, name, address string) *process {
	t.Helper()
	c, err := client.New(client.Config{Address: "http://" + address, HTTPClient: &http.Client{Transport: m.at.transport(t)}})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, name: name, config: filepath.Join(multiHubDir, name+".hcl"), binary: binary, role: role, client: c,
		launch: func(cmd *exec.Cmd) error {
			cmd.Env = append(os.Environ(), "DATA="+m.data)
			return m.at.start(cmd)
		},
	}
	t.Cleanup(p.kill)
	return p
}

// TestMultiHub has each hub own a namespace and replicate the other's, with a relayer each.
// When one is gone the other goes on with its own, serves what it has of the other's, and
// refuses writes to it in words; the relayer that has lost its hub is served by the far one.
func TestMultiHub(t *testing.T) {
	t.Parallel()
	m := newMultiHub(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	all := []*process{m.east, m.west, m.eastStore, m.westStore}
	for _, n := range all {
		n.start()
	}
	for owner, name := range map[*process]string{m.east: "orders-east", m.west: "orders-west"} {
		awaitNamespace(ctx, t, owner, name)
	}
	awaitNamespace(ctx, t, m.west, "prices-west")
	everywhere := func(door *process, namespace, key string, nodes ...*process) {
		t.Helper()
		put := func() (p client.Position, err error) {
			err = until(ctx, func() error {
				p, err = door.client.In(namespace).KV().Put(ctx, []byte(key), []byte("value of "+key))
				return err
			})
			return p, err
		}
		p, err := put()
		if err != nil {
			t.Fatalf("writing to %s on %s: %v", namespace, door.name, err)
		}
		for _, n := range nodes {
			var v client.Value
			err := poll(ctx, func() (bool, error) {
				v, err = n.client.In(namespace).KV().Get(ctx, []byte(key), client.AtLeast(p), client.Wait(5*time.Second))
				return err == nil, nil
			})
			if err != nil || string(v.Data) != "value of "+key {
				t.Fatalf("%s of %s on %s: %q, %v", key, namespace, n.name, v.Data, err)
			}
		}
	}
	everywhere(m.east, "orders-east", "a", all...)
	everywhere(m.west, "orders-west", "b", all...)
	everywhere(m.west, "orders-east", "passed on", all...)
	everywhere(m.west, "prices-west", "pear", m.west, m.westStore)

	awaitCopy(ctx, t, m.east, m.west, "orders-west") // a hub that has nothing yet passes reads on
	m.west.kill()
	everywhere(m.east, "orders-east", "the west is gone", m.east, m.eastStore, m.westStore)
	if _, err := m.east.client.In("orders-west").KV().Get(ctx, []byte("b")); err != nil {
		t.Errorf("reading the copy of what an absent hub owns: %v", err)
	}
	var answer *client.Error
	if _, err := m.east.client.In("orders-west").KV().Put(ctx, []byte("c"), nil); !errors.As(err, &answer) || answer.Code != "NO_OWNER" {
		t.Errorf("writing to what an absent hub owns: %v", err)
	}
	m.west.start()
	everywhere(m.east, "orders-west", "the west is back", all...)
	everywhere(m.west, "orders-east", "and has it all", all...)
}

// awaitNamespace waits until the group of hubs has made what an owner's files declare.
func awaitNamespace(ctx context.Context, t *testing.T, owner *process, name string) {
	t.Helper()
	var last error
	err := poll(ctx, func() (bool, error) {
		_, last = owner.client.In(name).KV().Get(ctx, []byte("nothing"))
		return errors.Is(last, client.ErrNotFound), nil
	})
	if err != nil {
		t.Fatalf("%s doesn't make %s: %v: %v", owner.name, name, err, last)
	}
}

// awaitCopy waits until a node has a copy of all that the owner of a namespace has.
func awaitCopy(ctx context.Context, t *testing.T, at, owner *process, name string) {
	t.Helper()
	find := func(p *process) (n client.NamespaceStatus, err error) {
		s, err := p.client.Status(ctx)
		for _, one := range s.Namespaces {
			if one.Name == name {
				n = one
			}
		}
		return n, err
	}
	var last client.NamespaceStatus
	err := poll(ctx, func() (bool, error) {
		want, err := find(owner)
		if err != nil {
			return false, err
		}
		last, err = find(at)
		return last.State == "serving" && last.CommitLSN >= want.CommitLSN && want.CommitLSN > 0, err
	})
	if err != nil {
		t.Fatalf("%s has no copy of %s: %v: %+v", at.name, name, err, last)
	}
}
