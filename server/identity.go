package server

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	"github.com/unisondb/unisondb/server/topology"
)

// node.json says which node a data directory belongs to. It is replaced as a
// whole and durable before anything relies on it.
//
//	{"magic":"unisondb-node","version":1,"checksum":"…","node":{…}}
//
// The checksum is the CRC-32C of the node field without white space, in hexadecimal.
const (
	identityName    = "node.json"
	identityMagic   = "unisondb-node"
	identityVersion = 1
	maxIdentity     = 64 << 20 // bytes; far more than any number of namespaces takes
)

// identity is what a data directory knows of its node.
type identity struct {
	NodeID     string `json:"node_id"`
	InstanceID string `json:"instance_id"` // random; a wiped or copied node is another one
	Role       Role   `json:"role"`
	// Made are the namespaces that this node made as their owner. One whose data
	// is gone is missed, and not made anew.
	Made map[string]dbkernel.Lineage `json:"namespaces"`
	// Accepted are the lineages that an operator lets followed namespaces become.
	// One stays until it is here, however long its source is away.
	Accepted map[string]dbkernel.Lineage `json:"accepted,omitempty"`
	// Placed are the namespaces that the control plane has this node replicate, with where
	// from: known without it, too, and not taken for one that was made here.
	Placed map[string]placedCopy `json:"placed,omitempty"`
	// Cluster is the group of hubs that Placed is from, and Index that of its state. An older
	// state, as a hub finds it at its start, takes nothing away.
	Cluster string `json:"cluster,omitempty"`
	Index   uint64 `json:"index,omitempty"`
	// Grouped says of a hub that it has seen others in its group: it makes no namespace
	// that the group doesn't know.
	Grouped bool `json:"grouped,omitempty"`
}

// placedCopy is a namespace that this node has from others.
type placedCopy struct {
	Receive bool              `json:"receive,omitempty"` // its owner brings it
	Owner   topology.Node     `json:"owner,omitzero"`
	Sources []topology.Source `json:"sources,omitempty"`
}

func (id identity) clone() identity {
	id.Made, id.Accepted, id.Placed = maps.Clone(id.Made), maps.Clone(id.Accepted), maps.Clone(id.Placed)
	if id.Accepted == nil {
		id.Accepted = map[string]dbkernel.Lineage{}
	}
	if id.Placed == nil {
		id.Placed = map[string]placedCopy{}
	}
	return id
}

type identityFile struct {
	Magic    string          `json:"magic"`
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Node     json.RawMessage `json:"node"`
}

func newIdentity(nodeID string, role Role) (identity, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return identity{}, err
	}
	return identity{NodeID: nodeID, InstanceID: hex.EncodeToString(id[:]), Role: role, Made: map[string]dbkernel.Lineage{}}, nil
}

// readIdentity reads node.json. found is false where there is none.
func readIdentity(fsys vfs.FS, name string) (id identity, found bool, err error) {
	b, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, fmt.Errorf("reading %s: %w: check that this user may read it", name, err)
	}
	id, err = parseIdentity(b)
	if err != nil {
		return id, false, fmt.Errorf("%s: %w", name, err)
	}
	return id, true, nil
}

func parseIdentity(b []byte) (id identity, err error) {
	const restore = "restore node.json from a backup of this data directory"
	var f identityFile
	if err := json.Unmarshal(b, &f); err != nil {
		return id, fmt.Errorf("%w: it is no JSON (%w): %s", dbkernel.ErrDamaged, err, restore)
	}
	if f.Magic != identityMagic || f.Version < 1 {
		return id, fmt.Errorf("%w: it is no node's identity: %s", dbkernel.ErrDamaged, restore)
	}
	if f.Version > identityVersion {
		return id, fmt.Errorf("%w: it has version %d, this build reads up to %d: use a newer build; nothing was touched", dbkernel.ErrNewerFormat, f.Version, identityVersion)
	}
	sum, err := checksum(f.Node)
	if err != nil || sum != f.Checksum {
		return id, fmt.Errorf("%w: its checksum is %q, its content has %q: %s", dbkernel.ErrDamaged, f.Checksum, sum, restore)
	}
	if err := json.Unmarshal(f.Node, &id); err != nil {
		return id, fmt.Errorf("%w: %w: %s", dbkernel.ErrDamaged, err, restore)
	}
	if id.Made == nil {
		id.Made = map[string]dbkernel.Lineage{}
	}
	return id, nil
}

func (id identity) encode() ([]byte, error) {
	node, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	sum, err := checksum(node)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(identityFile{identityMagic, identityVersion, sum, node}, "", "  ")
	return append(b, '\n'), err
}

func checksum(node json.RawMessage) (string, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, node); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x", crc32.Checksum(b.Bytes(), crc32.MakeTable(crc32.Castagnoli))), nil
}

// write replaces node.json. It is durable when write returns.
func (id identity) write(fsys vfs.FS, name string) error {
	b, err := id.encode()
	if err != nil {
		return err
	}
	if err := replaceFile(fsys, name, b); err != nil {
		return fmt.Errorf("writing %s: %w: check the disk and that this user may write there", name, err)
	}
	return nil
}

// replaceFile writes a file aside, and gives it its name when its content is
// durable: a reader finds the old file or the new one, also after a crash.
func replaceFile(fsys vfs.FS, name string, b []byte) error {
	aside := name + ".new"
	if err := fsys.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(aside)
	if err != nil {
		return err
	}
	_, err = f.WritevAt([][]byte{b}, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(aside))
	}
	if err := fsys.Rename(aside, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// readFile reads a whole file.
func readFile(fsys vfs.FS, name string) (b []byte, err error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxIdentity {
		return nil, fmt.Errorf("%w: the file has %d bytes, more than any of its kind", dbkernel.ErrDamaged, size)
	}
	b = make([]byte, size)
	if n, err := f.ReadAt(b, 0); int64(n) < size && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}
