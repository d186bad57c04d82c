package diagnose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// nodeFile is node.json, as far as it says whose directory this is.
type nodeFile struct {
	Magic    string          `json:"magic"`
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Node     json.RawMessage `json:"node"`
}

type nodeIdentity struct {
	NodeID string            `json:"node_id"`
	Role   string            `json:"role"`
	Made   map[string]string `json:"namespaces"`
}

// The newest version of node.json that this build reads.
const nodeFileVersion = 1

const restoreIdentity = "restore node.json from a backup of this data directory; without it the node is another one"

// identity reads node.json and holds it against the configuration.
func (d *diagnosis) identity(_ context.Context, s *Step) {
	if !s.needs(d.dir != "", theDataDirectory) {
		return
	}
	name := filepath.Join(d.dir, "node.json")
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		d.withoutIdentity(s)
		return
	}
	if err != nil {
		s.fail(err.Error(), "let the user that runs the node read it")
		return
	}
	id, err := parseIdentity(b)
	if err != nil {
		s.fail(fmt.Sprintf("%s %v", name, err), restoreIdentity)
		return
	}
	s.ok(fmt.Sprintf("node %s, a %s that has made %d namespaces", id.NodeID, id.Role, len(id.Made)))
	if d.cfg != nil && d.cfg.NodeID != id.NodeID {
		s.fail(fmt.Sprintf("the directory belongs to node %s, the configuration is of %s", id.NodeID, d.cfg.NodeID),
			"set node_id back, or give this node a data_dir of its own")
	}
	if d.cfg != nil && id.Role == "hub" && d.cfg.Relayer != nil {
		s.fail("the directory is a hub's, the configuration has a relayer block", "give the relayer a data_dir of its own")
	}
	for _, name := range lost(d.dir, id.Made) {
		s.fail(fmt.Sprintf("namespace %s was made here, and its directory is gone", name),
			fmt.Sprintf("restore it from a backup, or make it anew and lose what it had: 'unisondb operator namespace create %s -replace'", name))
	}
}

// withoutIdentity is a directory that is new, or has lost its node.json.
func (d *diagnosis) withoutIdentity(s *Step) {
	if entries, err := os.ReadDir(filepath.Join(d.dir, "namespaces")); err == nil && len(entries) > 0 {
		s.fail("node.json isn't there, and namespaces are", restoreIdentity)
		return
	}
	s.skip("node.json isn't there yet: the first start makes it")
}

func parseIdentity(b []byte) (id nodeIdentity, err error) {
	var f nodeFile
	switch err := json.Unmarshal(b, &f); {
	case err != nil:
		return id, fmt.Errorf("is no JSON: %w", err)
	case f.Magic != "unisondb-node" || f.Version < 1:
		return id, errors.New("is no node's identity")
	case f.Version > nodeFileVersion:
		return id, fmt.Errorf("has version %d, this build reads up to %d: use a newer build", f.Version, nodeFileVersion)
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, f.Node); err != nil {
		return id, err
	}
	if sum := fmt.Sprintf("%08x", crc32.Checksum(plain.Bytes(), crc32.MakeTable(crc32.Castagnoli))); sum != f.Checksum {
		return id, fmt.Errorf("has checksum %q, its content %q", f.Checksum, sum)
	}
	return id, json.Unmarshal(f.Node, &id)
}

// lost are the namespaces that were made here and have no directory.
func lost(dir string, made map[string]string) (names []string) {
	for name := range made {
		if _, err := os.Stat(filepath.Join(dir, "namespaces", name)); errors.Is(err, fs.ErrNotExist) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
