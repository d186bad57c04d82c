package replicator

import (
	"strings"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// Versions of the protocol that this build speaks.
const (
	protocolVersion    = 1
	minProtocolVersion = 1
)

// Limits of what one message may carry. Both ends hold to them, so that neither can
// make the other keep more.
const (
	maxPartBytes    = 1 << 20 // bytes of records in a batch
	minPartBytes    = 4 << 10
	maxEpochRows    = 65536 // rows of an epoch table: about 1.5 MiB
	maxNodeIDLen    = 256
	maxHeartbeat    = 5 * time.Minute
	minHeartbeat    = 10 * time.Millisecond
	maxReasonLen    = 4096
	maxCodeLen      = 64
	messageHeadroom = 64 << 10

	// MaxMessageBytes is what a gRPC end must accept: the largest batch, or the largest
	// epoch table, with what is around them.
	MaxMessageBytes = 2<<20 + messageHeadroom
)

// agreeOn picks the protocol version of a stream from what this build and the
// other end speak.
func agreeOn(highest, lowest uint32) (uint32, error) {
	if lowest > protocolVersion {
		return 0, refuse(CodeUnsupportedProtocol,
			"the other end speaks replication protocol %d and newer, this node %d at most: upgrade this node", lowest, protocolVersion)
	}
	if highest < minProtocolVersion {
		return 0, refuse(CodeUnsupportedProtocol,
			"the other end speaks replication protocol %d at most, this node %d and newer: upgrade the other end", highest, minProtocolVersion)
	}
	return min(highest, protocolVersion), nil
}

func epochsToProto(epochs []dbkernel.EpochStart) []*dbv1.EpochStart {
	out := make([]*dbv1.EpochStart, len(epochs))
	for i, e := range epochs {
		out[i] = &dbv1.EpochStart{Epoch: e.Epoch, FirstLsn: e.FirstLSN, Bits: e.Bits}
	}
	return out
}

func epochsFromProto(rows []*dbv1.EpochStart) ([]dbkernel.EpochStart, error) {
	if len(rows) > maxEpochRows {
		return nil, refuse(CodeInvalidMessage, "an epoch table of %d rows is over the limit of %d", len(rows), maxEpochRows)
	}
	out := make([]dbkernel.EpochStart, len(rows))
	for i, e := range rows {
		out[i] = dbkernel.EpochStart{Epoch: e.GetEpoch(), FirstLSN: e.GetFirstLsn(), Bits: e.GetBits()}
	}
	return out, nil
}

// lineageFromProto reads 16 bytes, or none for "no lineage yet".
func lineageFromProto(b []byte) (l dbkernel.Lineage, err error) {
	switch len(b) {
	case 0:
		return l, nil
	case len(l):
		return dbkernel.Lineage(b), nil
	default:
		return l, refuse(CodeInvalidMessage, "a lineage of %d bytes: expected %d", len(b), len(l))
	}
}

func lineageToProto(l dbkernel.Lineage) []byte {
	if l.IsZero() {
		return nil
	}
	return l[:]
}

// hello is a checked SinkHello.
type hello struct {
	version   uint32
	nodeID    string
	namespace string
	history   history
	maxPart   int
}

func (h hello) proto() *dbv1.SinkMessage {
	return &dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: &dbv1.SinkHello{
		ProtocolVersion:    protocolVersion,
		MinProtocolVersion: minProtocolVersion,
		NodeId:             h.nodeID,
		Namespace:          h.namespace,
		Lineage:            lineageToProto(h.history.lineage),
		Lsn:                h.history.lsn,
		Epochs:             epochsToProto(h.history.epochs),
		Compressions:       []dbv1.Compression{dbv1.Compression_COMPRESSION_NONE},
		MaxPartBytes:       uint32(h.maxPart),
	}}}
}

// parseHello checks what a sink said first.
func parseHello(m *dbv1.SinkMessage) (h hello, err error) {
	p := m.GetHello()
	if p == nil {
		return h, refuse(CodeInvalidMessage, "the stream begins with %T instead of a hello", m.GetBody())
	}
	if h.version, err = agreeOn(p.GetProtocolVersion(), p.GetMinProtocolVersion()); err != nil {
		return h, err
	}
	h.nodeID, h.namespace = p.GetNodeId(), p.GetNamespace()
	if err := checkNames(h.nodeID, h.namespace); err != nil {
		return h, err
	}
	if h.history.lineage, err = lineageFromProto(p.GetLineage()); err != nil {
		return h, err
	}
	if h.history.epochs, err = epochsFromProto(p.GetEpochs()); err != nil {
		return h, err
	}
	h.history.lsn = p.GetLsn()
	if err := h.history.check(); err != nil {
		return h, refuse(CodeInvalidMessage, "the follower's history doesn't make sense: %v", err)
	}
	h.maxPart = maxPartBytes
	if n := p.GetMaxPartBytes(); n > 0 {
		h.maxPart = int(min(max(n, minPartBytes), maxPartBytes))
	}
	return h, nil
}

func checkNames(nodeID, namespace string) error {
	if nodeID == "" || len(nodeID) > maxNodeIDLen {
		return refuse(CodeInvalidMessage, "a node id of %d bytes: expected 1 to %d", len(nodeID), maxNodeIDLen)
	}
	if namespace == "" || len(namespace) > dbkernel.MaxNameLen {
		return refuse(CodeInvalidMessage, "a namespace's name of %d bytes: expected 1 to %d", len(namespace), dbkernel.MaxNameLen)
	}
	return nil
}

// answerMessage is a verdict as the source sends it.
func answerMessage(nodeID string, h hello, source extent, v verdict, heartbeat time.Duration) *dbv1.SourceMessage {
	a := &dbv1.SourceAnswer{ProtocolVersion: max(h.version, minProtocolVersion), NodeId: nodeID}
	switch {
	case v.refused != nil:
		a.Verdict = &dbv1.SourceAnswer_Refused{Refused: v.refused.proto()}
	case v.truncate != nil:
		a.Verdict = &dbv1.SourceAnswer_TruncateTo{TruncateTo: &dbv1.TruncateTo{
			Lsn: v.truncate.lsn, Epoch: v.truncate.epoch, Reason: v.truncate.reason,
		}}
	case v.snapshotFrom != nil:
		a.Verdict = &dbv1.SourceAnswer_SnapshotFrom{SnapshotFrom: &dbv1.SnapshotFrom{
			FirstLsn: v.snapshotFrom.first, CommitLsn: source.commit,
			Lineage: lineageToProto(source.lineage), Reason: v.snapshotFrom.reason,
		}}
	default:
		a.Verdict = &dbv1.SourceAnswer_Resume{Resume: &dbv1.Resume{
			FromLsn: v.resumeFrom, Lineage: lineageToProto(source.lineage), Epochs: epochsToProto(source.epochs),
			CommitLsn: source.commit, Compression: dbv1.Compression_COMPRESSION_NONE,
			HeartbeatIntervalMs: uint32(heartbeat / time.Millisecond),
		}}
	}
	return &dbv1.SourceMessage{Body: &dbv1.SourceMessage_Answer{Answer: a}}
}

// refusal is the verdict as an error, nil for resume.
func (v verdict) refusal() error {
	switch {
	case v.refused != nil:
		return v.refused
	case v.truncate != nil:
		return forked(v.truncate.reason)
	case v.snapshotFrom != nil:
		return refuse(CodeLogTrimmed, "%s", v.snapshotFrom.reason)
	default:
		return nil
	}
}

func forked(reason string) *Refusal {
	return refuse(CodeForked, "%s. This build doesn't truncate: the follower stays as it is and can be read; "+
		"to take the source's history, move the follower's namespace directory aside and restart it", reason)
}

// resumption is a checked Resume.
type resumption struct {
	source    string // node id
	from      uint64
	lineage   dbkernel.Lineage
	commit    uint64
	heartbeat time.Duration
}

// parseAnswer checks a source's answer to the hello; anything but a resume is a *Refusal.
func parseAnswer(m *dbv1.SourceMessage, ours history) (r resumption, err error) {
	a := m.GetAnswer()
	if a == nil {
		return r, refuse(CodeInvalidMessage, "the source begins with %T instead of an answer to the hello", m.GetBody())
	}
	if v := a.GetProtocolVersion(); v < minProtocolVersion || v > protocolVersion {
		return r, refuse(CodeUnsupportedProtocol,
			"the source answers in replication protocol %d, this node speaks %d to %d: upgrade the older of the two", v, minProtocolVersion, protocolVersion)
	}
	r.source = clip(a.GetNodeId(), maxNodeIDLen)
	switch v := a.GetVerdict().(type) {
	case *dbv1.SourceAnswer_Resume:
		return r, r.parse(v.Resume, ours)
	case *dbv1.SourceAnswer_TruncateTo:
		return r, forked(clip(v.TruncateTo.GetReason(), maxReasonLen))
	case *dbv1.SourceAnswer_SnapshotFrom:
		return r, refuse(CodeLogTrimmed, "%s", clip(v.SnapshotFrom.GetReason(), maxReasonLen))
	case *dbv1.SourceAnswer_Refused:
		return r, refusalFrom(v.Refused)
	default:
		return r, refuse(CodeInvalidMessage, "the source's answer carries nothing that this build knows: upgrade this node")
	}
}

func (r *resumption) parse(p *dbv1.Resume, ours history) (err error) {
	if r.lineage, err = lineageFromProto(p.GetLineage()); err != nil {
		return err
	}
	if r.lineage.IsZero() {
		return refuse(CodeInvalidMessage, "the source resumes without a lineage")
	}
	if !ours.lineage.IsZero() && r.lineage != ours.lineage {
		return refuse(CodeLineageMismatch, "the source resumes with lineage %s, this node has %s: it keeps what it has", r.lineage, ours.lineage)
	}
	if r.from = p.GetFromLsn(); r.from != ours.lsn+1 {
		return refuse(CodeInvalidMessage, "the source resumes from LSN %d, asked for %d", r.from, ours.lsn+1)
	}
	if c := p.GetCompression(); c > dbv1.Compression_COMPRESSION_NONE {
		return refuse(CodeInvalidMessage, "the source chose compression %v, which wasn't offered", c)
	}
	r.commit = p.GetCommitLsn()
	r.heartbeat = min(max(time.Duration(p.GetHeartbeatIntervalMs())*time.Millisecond, minHeartbeat), maxHeartbeat)
	return nil
}

// offer is a checked SourceOffer.
type offer struct {
	nodeID    string
	namespace string
	lineage   dbkernel.Lineage
}

func (o offer) proto() *dbv1.SourceMessage {
	return &dbv1.SourceMessage{Body: &dbv1.SourceMessage_Offer{Offer: &dbv1.SourceOffer{
		ProtocolVersion: protocolVersion, MinProtocolVersion: minProtocolVersion,
		NodeId: o.nodeID, Namespace: o.namespace, Lineage: lineageToProto(o.lineage),
	}}}
}

func parseOffer(m *dbv1.SourceMessage) (o offer, err error) {
	p := m.GetOffer()
	if p == nil {
		return o, refuse(CodeInvalidMessage, "the stream begins with %T instead of an offer", m.GetBody())
	}
	if _, err := agreeOn(p.GetProtocolVersion(), p.GetMinProtocolVersion()); err != nil {
		return o, err
	}
	o.nodeID, o.namespace = p.GetNodeId(), p.GetNamespace()
	if err := checkNames(o.nodeID, o.namespace); err != nil {
		return o, err
	}
	if o.lineage, err = lineageFromProto(p.GetLineage()); err != nil {
		return o, err
	}
	return o, nil
}

// clip cuts s to n bytes, and says so.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
