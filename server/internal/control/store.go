package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/dbkernel/vfs"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// relayer.json keeps what a relayer knows of its group of hubs, for a start without any of them. It
// is replaced as a whole and durable before anything relies on it. Its mode is 0600: the
// credential is a secret.
//
//	{"magic":"unisondb-relayer","version":1,"checksum":"…","relayer":{…}}
//
// The checksum is the CRC-32C of the relayer field without white space, in hexadecimal.
const (
	storeMagic   = "unisondb-relayer"
	storeVersion = 1
	maxStore     = 64 << 20 // bytes; far more than any assignment takes
)

// memory is what relayer.json says. It is replaced, never changed.
type memory struct {
	NodeID     string
	Cluster    string // empty: it has joined none
	Credential string // empty: it needs none
	Assignment *dbv1.Assignment
}

type storeFile struct {
	Magic    string          `json:"magic"`
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Relayer  json.RawMessage `json:"relayer"`
}

type storedRelayer struct {
	NodeID     string          `json:"node_id"`
	Cluster    string          `json:"cluster,omitempty"`
	Credential string          `json:"credential,omitempty"`
	Assignment json.RawMessage `json:"assignment,omitempty"` // protobuf's JSON, with the names of control.proto
}

// store is the file.
type store struct {
	fs   vfs.FS
	name string
}

// read answers what the file says. An absent one says nothing but whose it will be.
func (s store) read(nodeID string) (memory, error) {
	b, err := s.content()
	if errors.Is(err, fs.ErrNotExist) {
		return memory{NodeID: nodeID}, nil
	}
	if err != nil {
		return memory{}, fmt.Errorf("reading %s: %w: check that this user may read it", s.name, err)
	}
	m, err := parseMemory(b)
	if err == nil && m.NodeID != nodeID {
		err = fmt.Errorf("it is that of relayer %q, and this one is %q: give node_id its old value, or this relayer a data directory of its own", m.NodeID, nodeID)
	}
	if err != nil {
		return memory{}, fmt.Errorf("%s: %w", s.name, err)
	}
	return m, nil
}

func parseMemory(b []byte) (m memory, err error) {
	const remedy = "move it away, and the relayer learns what it is to have from its hubs again; one that had joined by a token needs a new one"
	var f storeFile
	if err := json.Unmarshal(b, &f); err != nil {
		return m, fmt.Errorf("%w: it is no JSON (%w): %s", dbkernel.ErrDamaged, err, remedy)
	}
	if f.Magic != storeMagic || f.Version < 1 {
		return m, fmt.Errorf("%w: it is no relayer's: %s", dbkernel.ErrDamaged, remedy)
	}
	if f.Version > storeVersion {
		return m, fmt.Errorf("%w: it has version %d, this build reads up to %d: use a newer build; nothing was touched", dbkernel.ErrNewerFormat, f.Version, storeVersion)
	}
	sum, err := checksum(f.Relayer)
	if err != nil || sum != f.Checksum {
		return m, fmt.Errorf("%w: its checksum is %q, its content has %q: %s", dbkernel.ErrDamaged, f.Checksum, sum, remedy)
	}
	var r storedRelayer
	if err := json.Unmarshal(f.Relayer, &r); err != nil {
		return m, fmt.Errorf("%w: %w: %s", dbkernel.ErrDamaged, err, remedy)
	}
	m = memory{NodeID: r.NodeID, Cluster: r.Cluster, Credential: r.Credential}
	if r.Assignment != nil {
		m.Assignment = &dbv1.Assignment{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(r.Assignment, m.Assignment); err != nil {
			return memory{}, fmt.Errorf("%w: its assignment: %w: %s", dbkernel.ErrDamaged, err, remedy)
		}
	}
	return m, nil
}

func (m memory) encode() ([]byte, error) {
	r := storedRelayer{NodeID: m.NodeID, Cluster: m.Cluster, Credential: m.Credential}
	if m.Assignment != nil {
		var err error
		if r.Assignment, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(m.Assignment); err != nil {
			return nil, err
		}
	}
	relayer, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum, err := checksum(relayer)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(storeFile{storeMagic, storeVersion, sum, relayer}, "", "  ")
	return append(b, '\n'), err
}

func checksum(relayer json.RawMessage) (string, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, relayer); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x", crc32.Checksum(b.Bytes(), crc32.MakeTable(crc32.Castagnoli))), nil
}

// write replaces the file: a reader finds the old one or the new one, also after a
// crash. It is durable when write returns.
func (s store) write(m memory) error {
	b, err := m.encode()
	if err == nil {
		err = s.replace(b)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w: check the disk and that this user may write there", s.name, err)
	}
	return nil
}

func (s store) replace(b []byte) error {
	aside := s.name + ".new"
	if err := s.fs.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.fs.Create(aside)
	if err != nil {
		return err
	}
	_, err = f.WritevAt([][]byte{b}, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.fs.Remove(aside))
	}
	if err := s.fs.Rename(aside, s.name); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(s.name))
}

func (s store) content() (b []byte, err error) {
	f, err := s.fs.OpenRead(s.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxStore {
		return nil, fmt.Errorf("%w: the file has %d bytes, more than any of its kind", dbkernel.ErrDamaged, size)
	}
	b = make([]byte, size)
	if n, err := f.ReadAt(b, 0); int64(n) < size && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}
