package topology

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
)

// A snapshot is a header and the state as JSON. Integers are little-endian.
//
//	0   8  magic
//	8   4  version of the format
//	12  4  length of the header, with its checksum
//	16  4  minimum reader: the kind of command that a build has to know to read it
//	20  4  newest kind of command that the writer knows
//	24 16  cluster id; zero before the group has begun
//	40  8  index
//	48  8  length of the state in bytes
//	56  4  CRC-32C of the state
//	60     version of the program that wrote it, up to the checksum
//	    4  CRC-32C of the header up to here
const (
	snapshotMagic   = "udbtopo\n"
	snapshotVersion = 1
	snapshotFixed   = 60
	snapshotLeast   = snapshotFixed + 4
	snapshotMost    = snapshotLeast + maxText
	maxSnapshot     = 1 << 30 // bytes of the state; far more than any topology takes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SnapshotInfo is what a snapshot says of itself.
type SnapshotInfo struct {
	Format    int    `json:"format"`
	Writer    string `json:"writer"`     // version of the program
	MinReader Kind   `json:"min_reader"` // kind of command that a build has to know to read it
	Newest    Kind   `json:"newest"`     // kind of command that the writer knew
	Cluster   string `json:"cluster"`
	Index     uint64 `json:"index"`
	Bytes     int64  `json:"bytes"` // of the whole

	Hubs        int `json:"hubs"`
	Namespaces  int `json:"namespaces"`
	Deleted     int `json:"deleted"`
	Relayers    int `json:"relayers"`
	Assignments int `json:"assignments"`
	Plugins     int `json:"plugins"`
	Tokens      int `json:"tokens"`

	length int64 // of the state
	sum    uint32
}

// snapshotBody is the state as it is written: lists in the order of their keys.
type snapshotBody struct {
	Cluster     string        `json:"cluster"`
	Index       uint64        `json:"index"`
	MinReader   Kind          `json:"min_reader"`
	Chain       Hash          `json:"chain"`
	Hubs        []*Hub        `json:"hubs,omitempty"`
	Namespaces  []*Namespace  `json:"namespaces,omitempty"`
	Deleted     []*Namespace  `json:"deleted,omitempty"`
	Relayers    []*Relayer    `json:"relayers,omitempty"`
	Assignments []*Assignment `json:"assignments,omitempty"`
	Plugins     []*Plugin     `json:"plugins,omitempty"`
	Tokens      []*Token      `json:"tokens,omitempty"`
}

// body is the state in a form that is the same for equal states.
func (s *State) body() ([]byte, error) {
	return json.Marshal(snapshotBody{
		Cluster: s.Cluster, Index: s.Index, MinReader: s.MinReader, Chain: s.Chain,
		Hubs: sorted(s.Hubs), Namespaces: sorted(s.Namespaces), Deleted: sorted(s.Deleted), Relayers: sorted(s.Relayers),
		Assignments: sorted(s.Assignments), Plugins: sorted(s.Plugins), Tokens: sorted(s.Tokens),
	})
}

func sorted[V any](m map[string]*V) []*V {
	all := make([]*V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[key])
	}
	return all
}

// writeSnapshot writes the state. version is that of this program.
func (s *State) writeSnapshot(w io.Writer, version string) error {
	body, err := s.body()
	if err != nil {
		return fmt.Errorf("encoding the control plane's state: %w", err)
	}
	version = version[:min(len(version), maxText)]
	h := make([]byte, snapshotFixed, snapshotMost)
	copy(h, snapshotMagic)
	binary.LittleEndian.PutUint32(h[8:], snapshotVersion)
	binary.LittleEndian.PutUint32(h[12:], uint32(snapshotLeast+len(version)))
	binary.LittleEndian.PutUint32(h[16:], uint32(s.MinReader))
	binary.LittleEndian.PutUint32(h[20:], uint32(newest))
	if _, err := hex.Decode(h[24:40], []byte(s.Cluster)); err != nil {
		return fmt.Errorf("the cluster id %q: %w", s.Cluster, err)
	}
	binary.LittleEndian.PutUint64(h[40:], s.Index)
	binary.LittleEndian.PutUint64(h[48:], uint64(len(body)))
	binary.LittleEndian.PutUint32(h[56:], crc32.Checksum(body, castagnoli))
	h = append(h, version...)
	h = binary.LittleEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
	for _, part := range [][]byte{h, body} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("writing the control plane's snapshot: %w", err)
		}
	}
	return nil
}

// InspectSnapshot reads and checks a snapshot, also that of another cluster. A newer or damaged
// one is refused by an *Error.
func InspectSnapshot(r io.Reader) (SnapshotInfo, error) {
	_, info, err := readSnapshot(r)
	return info, err
}

// readSnapshot reads a snapshot, whichever cluster it is of.
func readSnapshot(r io.Reader) (*State, SnapshotInfo, error) {
	info, err := readHeader(r)
	if err != nil {
		return nil, SnapshotInfo{}, err
	}
	var body bytes.Buffer // grows with what is there, not with what the header claims
	if n, err := io.Copy(&body, io.LimitReader(r, info.length+1)); err != nil {
		return nil, info, fmt.Errorf("reading the control plane's snapshot: %w", err)
	} else if n != info.length {
		return nil, info, damaged("it should hold a state of %d bytes, and has %d or more", info.length, n)
	}
	if sum := crc32.Checksum(body.Bytes(), castagnoli); sum != info.sum {
		return nil, info, damaged("its checksum is %08x and should be %08x", sum, info.sum)
	}
	s, err := parseBody(body.Bytes())
	if err != nil {
		return nil, info, damaged("%v", err)
	}
	if s.Cluster != info.Cluster || s.Index != info.Index || s.MinReader != info.MinReader {
		return nil, info, damaged("its header says another index, cluster or reader than its state")
	}
	info.Hubs, info.Namespaces, info.Deleted, info.Relayers = len(s.Hubs), len(s.Namespaces), len(s.Deleted), len(s.Relayers)
	info.Assignments, info.Plugins, info.Tokens = len(s.Assignments), len(s.Plugins), len(s.Tokens)
	return s, info, nil
}

func readHeader(r io.Reader) (info SnapshotInfo, err error) {
	h := make([]byte, snapshotMost)
	if _, err := io.ReadFull(r, h[:snapshotLeast]); err != nil {
		return info, tooShort(err)
	}
	if string(h[:8]) != snapshotMagic {
		return info, refuse(CodeDamagedSnapshot, "this is no snapshot of the control plane: 'unisondb operator snapshot save' writes them")
	}
	if v := binary.LittleEndian.Uint32(h[8:]); v != snapshotVersion {
		return info, refuse(CodeNewerFormat, "the snapshot has format %d, and this version reads format %d: upgrade, or take a snapshot with this version", v, snapshotVersion)
	}
	length := binary.LittleEndian.Uint32(h[12:])
	if length < snapshotLeast || length > snapshotMost {
		return info, damaged("its header is damaged")
	}
	if _, err := io.ReadFull(r, h[snapshotLeast:length]); err != nil {
		return info, tooShort(err)
	}
	h = h[:length]
	signed := h[:length-4]
	if crc32.Checksum(signed, castagnoli) != binary.LittleEndian.Uint32(h[length-4:]) {
		return info, damaged("its header is damaged")
	}
	info = SnapshotInfo{
		Format: snapshotVersion, Writer: string(signed[snapshotFixed:]),
		MinReader: Kind(binary.LittleEndian.Uint32(h[16:])), Newest: Kind(binary.LittleEndian.Uint32(h[20:])),
		Index:  binary.LittleEndian.Uint64(h[40:]),
		length: int64(binary.LittleEndian.Uint64(h[48:])), sum: binary.LittleEndian.Uint32(h[56:]),
	}
	if id := [16]byte(h[24:40]); id != ([16]byte{}) {
		info.Cluster = hex.EncodeToString(id[:])
	}
	if info.length < 0 || info.length > maxSnapshot {
		return info, damaged("it claims a state of %d bytes", info.length)
	}
	info.Bytes = int64(length) + info.length
	if info.MinReader > newest {
		return info, refuse(CodeNewerFormat, "the snapshot needs a version that reads command %d of the control plane; this one reads up to %d (it was written by version %s): upgrade this hub", info.MinReader, newest, quoted(info.Writer))
	}
	return info, nil
}

func tooShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it ends within its header")
	}
	return fmt.Errorf("reading the control plane's snapshot: %w", err)
}

func damaged(format string, args ...any) error {
	return refuse(CodeDamagedSnapshot, "the snapshot of the control plane is damaged: %s: use another copy", fmt.Sprintf(format, args...))
}

// parseBody reads a state. Fields that it doesn't know come from commands that builds like this one
// may ignore.
func parseBody(b []byte) (*State, error) {
	var body snapshotBody
	if err := json.Unmarshal(b, &body); err != nil {
		return nil, err
	}
	s := &State{Cluster: body.Cluster, Index: body.Index, MinReader: body.MinReader, Chain: body.Chain}
	err := errors.Join(
		byName(&s.Hubs, body.Hubs, func(h *Hub) string { return h.ID }),
		byName(&s.Namespaces, body.Namespaces, func(n *Namespace) string { return n.Name }),
		byName(&s.Deleted, body.Deleted, func(n *Namespace) string { return n.Lineage }),
		byName(&s.Relayers, body.Relayers, func(r *Relayer) string { return r.ID }),
		byName(&s.Assignments, body.Assignments, func(a *Assignment) string { return a.Key() }),
		byName(&s.Plugins, body.Plugins, func(p *Plugin) string { return p.Name }),
		byName(&s.Tokens, body.Tokens, func(t *Token) string { return t.ID }),
	)
	if err != nil {
		return nil, err
	}
	s.derived = s.lookup()
	return s, nil
}

func byName[V any](m *map[string]*V, all []*V, key func(*V) string) error {
	*m = make(map[string]*V, len(all))
	for _, v := range all {
		if v == nil {
			return errors.New("an entry is missing")
		}
		k := key(v)
		if _, twice := (*m)[k]; twice || k == "" {
			return fmt.Errorf("the entry %s stands in it twice, or without a name", quoted(k))
		}
		(*m)[k] = v
	}
	return nil
}
