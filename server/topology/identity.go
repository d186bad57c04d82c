package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// raft.json says whose the control plane's directory is, and which format it has:
//
//	{"magic":"unisondb-raft","version":1,"checksum":"…","hub":{"node_id":"…","instance_id":"…"}}
//
// The checksum is the CRC-32C of the hub field without white space, in hexadecimal.
const (
	dirMagic   = "unisondb-raft"
	dirVersion = 1
)

// identity is whose a directory is.
type identity struct {
	NodeID     string `json:"node_id"`
	InstanceID string `json:"instance_id"`
}

type identityFile struct {
	Magic    string          `json:"magic"`
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Hub      json.RawMessage `json:"hub"`
}

// claim checks that a directory is this hub's, and makes it that where it is nobody's.
func claim(dir string, id identity) error {
	was, err := readOwner(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writeOwner(dir, id)
	case err != nil:
		return err
	case was != id:
		return fmt.Errorf("%s is the control plane's directory of hub %q, instance %s, and this is hub %q, instance %s: give this hub its own, or move it away to let this hub join anew", dir, was.NodeID, was.InstanceID, id.NodeID, id.InstanceID)
	}
	return nil
}

// readOwner reads whose a directory is; fs.ErrNotExist: nobody's.
func readOwner(dir string) (id identity, err error) {
	name := filepath.Join(dir, identityName)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, logName)); err == nil {
			return id, fmt.Errorf("%s is missing, and %s is there: restore it from a backup, or move the directory away and let this hub join anew", name, logName)
		}
	}
	if err != nil {
		return id, err
	}
	var f identityFile
	if err := json.Unmarshal(b, &f); err != nil || f.Magic != dirMagic || f.Version < 1 {
		return id, fmt.Errorf("%s: %w", name, errDamaged)
	}
	if f.Version > dirVersion {
		return id, refuse(CodeNewerFormat, "%s has version %d, and this build reads up to %d: use a newer build; nothing was touched", name, f.Version, dirVersion)
	}
	if sum, err := checksumOf(f.Hub); err != nil || sum != f.Checksum {
		return id, fmt.Errorf("%s: %w", name, errDamaged)
	}
	if err := json.Unmarshal(f.Hub, &id); err != nil {
		return id, fmt.Errorf("%s: %w", name, errDamaged)
	}
	return id, nil
}

func writeOwner(dir string, id identity) error {
	hub, err := json.Marshal(id)
	if err != nil {
		return err
	}
	sum, err := checksumOf(hub)
	if err != nil {
		return err
	}
	b, err := json.Marshal(identityFile{dirMagic, dirVersion, sum, hub})
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, identityName), append(b, '\n'), 0o600, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("writing %s: %w", identityName, err)
	}
	return syncDir(dir)
}

func checksumOf(hub json.RawMessage) (string, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, hub); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x", crc32.Checksum(b.Bytes(), castagnoli)), nil
}

// readableSnapshot refuses a directory whose newest snapshot is of a newer version. Raft would
// fall back to an older one, and lose what lies between.
func readableSnapshot(dir string) error {
	all, err := filepath.Glob(filepath.Join(dir, snapshotsDir, "*-*-*", "state.bin"))
	if err != nil {
		return err
	}
	for _, name := range all {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = InspectSnapshot(f)
		if err = errors.Join(err, f.Close()); CodeOf(err) == CodeNewerFormat || CodeOf(err) == CodeUnreadableCommand {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
