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
	purpose   dbv1.Purpose
	history   history
	maxPart   int
	// compressions are what the sink takes, preferred ones first; compression is
	// what the source has chosen of them.
	compressions []dbv1.Compression
	compression  dbv1.Compression
	digests      uint64 // the mark that a stream for digests asks for
	ranges       []int  // what a stream for repair asks for, ascending
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
		Compressions:       h.compressions,
		MaxPartBytes:       uint32(h.maxPart),
		Purpose:            h.purpose,
		DigestsLsn:         h.digests,
		RepairRanges:       rangesToProto(h.ranges),
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
	h.compressions = p.GetCompressions()
	h.purpose, h.digests = p.GetPurpose(), p.GetDigestsLsn()
	if h.ranges, err = rangesFromProto(p.GetRepairRanges()); err != nil {
		return h, err
	}
	return h, h.checkPurpose()
}

// checkPurpose checks that what is asked for can be.
func (h hello) checkPurpose() error {
	switch h.purpose {
	case dbv1.Purpose_PURPOSE_UNSPECIFIED:
		return nil
	case dbv1.Purpose_PURPOSE_SNAPSHOT, dbv1.Purpose_PURPOSE_DIGESTS, dbv1.Purpose_PURPOSE_REPAIR:
		if h.history.lineage.IsZero() {
			return refuse(CodeInvalidMessage, "a stream for %v needs the lineage of what the follower has", h.purpose)
		}
		return nil
	default:
		return refuse(CodeUnsupportedProtocol, "the follower asks for a stream of purpose %d, which this node doesn't know: upgrade this node", h.purpose)
	}
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
			Lineage: lineageToProto(source.lineage), SourceLsn: source.lsn, Epochs: epochsToProto(source.epochs),
		}}
	case v.snapshotFrom != nil:
		a.Verdict = &dbv1.SourceAnswer_SnapshotFrom{SnapshotFrom: &dbv1.SnapshotFrom{
			FirstLsn: v.snapshotFrom.first, CommitLsn: source.committed().lsn,
			Lineage: lineageToProto(source.lineage), Reason: v.snapshotFrom.reason,
			Epochs:              epochsToProto(source.committed().epochs),
			HeartbeatIntervalMs: uint32(heartbeat / time.Millisecond), EstimatedBytes: uint64(max(0, source.snapshotBytes)),
		}}
	default:
		a.Verdict = &dbv1.SourceAnswer_Resume{Resume: &dbv1.Resume{
			FromLsn: v.resumeFrom, Lineage: lineageToProto(source.lineage), Epochs: epochsToProto(source.epochs),
			CommitLsn: source.commit, Compression: h.compression,
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
		return refuseForNow(CodeForked, "%s: the follower cuts off what is behind, and asks again", v.truncate.reason)
	case v.snapshotFrom != nil:
		return refuseForNow(CodeLogTrimmed, "%s: the follower asks for a snapshot", v.snapshotFrom.reason)
	default:
		return nil
	}
}

// answer is a checked SourceAnswer that isn't a refusal: exactly one field but the first is set.
type answer struct {
	source   string // node id
	resume   *resumption
	truncate *truncation
	snapshot *snapshotOffer
}

// resumption is a checked Resume.
type resumption struct {
	from        uint64
	history     history // the source's
	commit      uint64
	heartbeat   time.Duration
	compression dbv1.Compression
}

// snapshotOffer is a checked SnapshotFrom.
type snapshotOffer struct {
	source    extent // as far as it is committed
	reason    string
	heartbeat time.Duration
	estimate  uint64 // bytes of all chunks, about
}

// parseAnswer checks a source's answer to the hello; a refusal is a *Refusal. ours is what
// the hello said; a sink without lineage takes any.
func parseAnswer(m *dbv1.SourceMessage, ours history) (a answer, err error) {
	p := m.GetAnswer()
	if p == nil {
		return a, refuse(CodeInvalidMessage, "the source begins with %T instead of an answer to the hello", m.GetBody())
	}
	if v := p.GetProtocolVersion(); v < minProtocolVersion || v > protocolVersion {
		return a, refuse(CodeUnsupportedProtocol,
			"the source answers in replication protocol %d, this node speaks %d to %d: upgrade the older of the two", v, minProtocolVersion, protocolVersion)
	}
	a.source = clip(p.GetNodeId(), maxNodeIDLen)
	switch v := p.GetVerdict().(type) {
	case *dbv1.SourceAnswer_Resume:
		a.resume, err = parseResume(v.Resume, ours)
	case *dbv1.SourceAnswer_TruncateTo:
		a.truncate, err = parseTruncateTo(v.TruncateTo, ours)
	case *dbv1.SourceAnswer_SnapshotFrom:
		a.snapshot, err = parseSnapshotFrom(v.SnapshotFrom, ours)
	case *dbv1.SourceAnswer_Refused:
		err = refusalFrom(v.Refused)
	default:
		err = refuse(CodeInvalidMessage, "the source's answer carries nothing that this build knows: upgrade this node")
	}
	return a, err
}

// parseHistory checks what a source says of its own history, and that it is of our namespace.
func parseHistory(lineage []byte, lsn uint64, epochs []*dbv1.EpochStart, ours history) (h history, err error) {
	if h.lineage, err = lineageFromProto(lineage); err != nil {
		return h, err
	}
	if h.lineage.IsZero() {
		return h, refuse(CodeInvalidMessage, "the source answers without a lineage")
	}
	if !ours.lineage.IsZero() && h.lineage != ours.lineage {
		return h, refuse(CodeLineageMismatch, "the source answers with lineage %s, asked for was %s: this node keeps what it has", h.lineage, ours.lineage)
	}
	if h.epochs, err = epochsFromProto(epochs); err != nil {
		return h, err
	}
	h.lsn = lsn
	if err := h.check(); err != nil {
		return h, refuse(CodeInvalidMessage, "the source's history doesn't make sense: %v", err)
	}
	return h, nil
}

func parseResume(p *dbv1.Resume, ours history) (*resumption, error) {
	r := &resumption{from: p.GetFromLsn(), commit: p.GetCommitLsn(), heartbeat: heartbeatFromProto(p.GetHeartbeatIntervalMs())}
	if r.from != ours.lsn+1 {
		return nil, refuse(CodeInvalidMessage, "the source resumes from LSN %d, asked for %d", r.from, ours.lsn+1)
	}
	if r.compression = p.GetCompression(); r.compression > dbv1.Compression_COMPRESSION_ZSTD {
		return nil, refuse(CodeInvalidMessage, "the source chose compression %v, which wasn't offered", r.compression)
	}
	end := r.commit
	for _, e := range p.GetEpochs() {
		end = max(end, e.GetFirstLsn()) // the table may have records that aren't committed
	}
	var err error
	r.history, err = parseHistory(p.GetLineage(), end, p.GetEpochs(), ours)
	return r, err
}

func parseTruncateTo(p *dbv1.TruncateTo, ours history) (*truncation, error) {
	t := &truncation{lsn: p.GetLsn(), epoch: p.GetEpoch(), reason: clip(p.GetReason(), maxReasonLen)}
	var err error
	t.source, err = parseHistory(p.GetLineage(), p.GetSourceLsn(), p.GetEpochs(), ours)
	if err != nil {
		return nil, err
	}
	return t, t.confirm(ours)
}

func parseSnapshotFrom(p *dbv1.SnapshotFrom, ours history) (*snapshotOffer, error) {
	h, err := parseHistory(p.GetLineage(), p.GetCommitLsn(), p.GetEpochs(), ours)
	if err != nil {
		return nil, err
	}
	first := p.GetFirstLsn()
	if first == 0 || first > h.lsn+1 {
		return nil, refuse(CodeInvalidMessage, "the source's log begins at LSN %d and ends at %d", first, h.lsn)
	}
	return &snapshotOffer{
		source: extent{history: h, first: first, commit: h.lsn}, reason: clip(p.GetReason(), maxReasonLen),
		heartbeat: heartbeatFromProto(p.GetHeartbeatIntervalMs()), estimate: p.GetEstimatedBytes(),
	}, nil
}

func heartbeatFromProto(ms uint32) time.Duration {
	return min(max(time.Duration(ms)*time.Millisecond, minHeartbeat), maxHeartbeat)
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
