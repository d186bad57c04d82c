package replicator

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

func goodHello() *dbv1.SinkHello {
	h := hello{nodeID: "edge", namespace: "default", maxPart: maxPartBytes, history: history{lineageA, 9, rows(1, 1, 7, 2, 5, 8)}}
	return h.proto().GetHello()
}

func TestHelloRoundTrip(t *testing.T) {
	h, err := parseHello(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: goodHello()}})
	if err != nil {
		t.Fatal(err)
	}
	if h.nodeID != "edge" || h.namespace != "default" || h.maxPart != maxPartBytes || h.version != protocolVersion ||
		h.history.lineage != lineageA || h.history.lsn != 9 || len(h.history.epochs) != 2 || h.history.epochs[1] != rows(2, 5, 8)[0] {
		t.Errorf("%+v", h)
	}
}

func TestHelloRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*dbv1.SinkHello)
		code   string
		words  string
	}{
		"newer protocol": {func(h *dbv1.SinkHello) { h.ProtocolVersion, h.MinProtocolVersion = 9, 8 }, CodeUnsupportedProtocol, "upgrade this node"},
		"no protocol":    {func(h *dbv1.SinkHello) { h.ProtocolVersion, h.MinProtocolVersion = 0, 0 }, CodeUnsupportedProtocol, "upgrade the other end"},
		"no node":        {func(h *dbv1.SinkHello) { h.NodeId = "" }, CodeInvalidMessage, "node id"},
		"long node":      {func(h *dbv1.SinkHello) { h.NodeId = strings.Repeat("x", 300) }, CodeInvalidMessage, "node id"},
		"no namespace":   {func(h *dbv1.SinkHello) { h.Namespace = "" }, CodeInvalidMessage, "name"},
		"lineage":        {func(h *dbv1.SinkHello) { h.Lineage = []byte{1} }, CodeInvalidMessage, "lineage"},
		"no lineage":     {func(h *dbv1.SinkHello) { h.Lineage = nil }, CodeInvalidMessage, "no lineage"},
		"no epochs":      {func(h *dbv1.SinkHello) { h.Epochs = nil }, CodeInvalidMessage, "no epochs"},
		"epochs in disorder": {func(h *dbv1.SinkHello) { h.Epochs[0], h.Epochs[1] = h.Epochs[1], h.Epochs[0] },
			CodeInvalidMessage, "doesn't fit"},
		"an epoch behind the end": {func(h *dbv1.SinkHello) { h.Lsn = 4 }, CodeInvalidMessage, "doesn't fit"},
		"too many epochs": {func(h *dbv1.SinkHello) { h.Epochs = make([]*dbv1.EpochStart, maxEpochRows+1) },
			CodeInvalidMessage, "over the limit"},
	} {
		h := goodHello()
		tt.change(h)
		_, err := parseHello(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: h}})
		if codeOf(err) != tt.code || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseHello(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Ack{}}); codeOf(err) != CodeInvalidMessage {
		t.Errorf("no hello: %v", err)
	}
}

// TestNewerSinkIsServed: a sink that also speaks this protocol gets it.
func TestNewerSinkIsServed(t *testing.T) {
	h := goodHello()
	h.ProtocolVersion = 9
	got, err := parseHello(&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: h}})
	if err != nil || got.version != protocolVersion {
		t.Errorf("version %d, %v", got.version, err)
	}
}

func TestLargestTableFits(t *testing.T) {
	table := make([]*dbv1.EpochStart, maxEpochRows)
	for i := range table {
		table[i] = &dbv1.EpochStart{Epoch: 1<<52 + uint64(i), FirstLsn: 1<<40 + uint64(i), Bits: 1 << 63}
	}
	if n := proto.Size(&dbv1.SinkHello{Epochs: table}); n > MaxMessageBytes-messageHeadroom {
		t.Errorf("%d bytes don't fit into a message of %d", n, MaxMessageBytes)
	}
}

func TestAnswerRefused(t *testing.T) {
	ours := history{lineageA, 9, rows(1, 1, 7)}
	source := extent{history: history{lineageA, 20, rows(1, 1, 7)}, first: 1, commit: 20}
	good := func() *dbv1.SourceAnswer {
		return answerMessage("hub", hello{version: 1}, source, verdict{resumeFrom: 10}, time.Second).GetAnswer()
	}
	for name, tt := range map[string]struct {
		change func(*dbv1.SourceAnswer)
		want   string
	}{
		"good":            {func(*dbv1.SourceAnswer) {}, ""},
		"other protocol":  {func(a *dbv1.SourceAnswer) { a.ProtocolVersion = 2 }, CodeUnsupportedProtocol},
		"no verdict":      {func(a *dbv1.SourceAnswer) { a.Verdict = nil }, CodeInvalidMessage},
		"other place":     {func(a *dbv1.SourceAnswer) { a.GetResume().FromLsn = 11 }, CodeInvalidMessage},
		"other lineage":   {func(a *dbv1.SourceAnswer) { a.GetResume().Lineage = lineageB[:] }, CodeLineageMismatch},
		"no lineage":      {func(a *dbv1.SourceAnswer) { a.GetResume().Lineage = nil }, CodeInvalidMessage},
		"compression":     {func(a *dbv1.SourceAnswer) { a.GetResume().Compression = dbv1.Compression_COMPRESSION_ZSTD + 1 }, CodeInvalidMessage},
		"empty truncate":  {func(a *dbv1.SourceAnswer) { a.Verdict = &dbv1.SourceAnswer_TruncateTo{} }, CodeInvalidMessage},
		"empty snapshot":  {func(a *dbv1.SourceAnswer) { a.Verdict = &dbv1.SourceAnswer_SnapshotFrom{} }, CodeInvalidMessage},
		"refused":         {func(a *dbv1.SourceAnswer) { a.Verdict = &dbv1.SourceAnswer_Refused{Refused: &dbv1.Refused{Code: "X"}} }, "X"},
		"wild heartbeats": {func(a *dbv1.SourceAnswer) { a.GetResume().HeartbeatIntervalMs = ^uint32(0) }, ""},
	} {
		a := good()
		tt.change(a)
		r, err := parseAnswer(&dbv1.SourceMessage{Body: &dbv1.SourceMessage_Answer{Answer: a}}, ours)
		if codeOf(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (r.resume.heartbeat < minHeartbeat || r.resume.heartbeat > maxHeartbeat) {
			t.Errorf("%s: heartbeat %v", name, r.resume.heartbeat)
		}
	}
}

// TestTruncateIsConfirmed: a sink cuts nothing off because somebody says so.
func TestTruncateIsConfirmed(t *testing.T) {
	ours := history{lineageA, 9, rows(1, 1, 7)}
	forked := history{lineageA, 20, rows(1, 1, 7, 2, 5, 8)}
	for name, tt := range map[string]struct {
		source history
		lsn    uint64
		want   string
	}{
		"fork":                  {forked, 4, ""},
		"further back":          {forked, 3, CodeInvalidMessage},
		"not so far":            {forked, 5, CodeInvalidMessage},
		"no fork at all":        {history{lineageA, 20, rows(1, 1, 7)}, 4, CodeInvalidMessage},
		"the source is behind":  {history{lineageA, 4, rows(1, 1, 7)}, 4, CodeInvalidMessage},
		"another lineage":       {history{lineageB, 20, rows(1, 1, 7, 2, 5, 8)}, 4, CodeLineageMismatch},
		"a senseless history":   {history{lineageA, 20, rows(2, 1, 7, 1, 5, 8)}, 4, CodeInvalidMessage},
		"nothing in its tables": {history{lineageA, 20, nil}, 0, CodeInvalidMessage},
	} {
		m := answerMessage("hub", hello{version: 1}, extent{history: tt.source}, verdict{truncate: &truncation{lsn: tt.lsn}}, time.Second)
		a, err := parseAnswer(m, ours)
		if codeOf(err) != tt.want || err == nil && a.truncate.lsn != tt.lsn {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzHandshake feeds both ends whatever the other may say first.
func FuzzHandshake(f *testing.F) {
	for _, m := range []proto.Message{
		&dbv1.SinkMessage{Body: &dbv1.SinkMessage_Hello{Hello: goodHello()}},
		answerMessage("hub", hello{version: 1}, extent{history: history{lineageA, 20, rows(1, 1, 7)}}, verdict{resumeFrom: 10}, time.Second),
		offer{nodeID: "edge", namespace: "x", lineage: lineageA}.proto(),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	source := extent{history: history{lineageA, 9, rows(1, 1, 7, 2, 5, 8)}, first: 2}
	f.Fuzz(func(t *testing.T, data []byte) {
		var down dbv1.SourceMessage
		if proto.Unmarshal(data, &down) == nil {
			checkAgreed(t, &down, source.history)
			if o, err := parseOffer(&down); err == nil && o.namespace == "" {
				t.Fatal("an offer of nothing was taken")
			}
			l := lag{now: time.Now}
			d := decoder{answered: true, unpacker: unpacker{next: 10}}
			if item, err := d.decode(&down, source.history, &l); err == nil && item.last > 0 && item.commit < item.last {
				t.Fatalf("%+v was taken", item)
			}
		}
		var up dbv1.SinkMessage
		if proto.Unmarshal(data, &up) != nil {
			return
		}
		if h, err := parseHello(&up); err == nil {
			if h.maxPart < minPartBytes || h.maxPart > maxPartBytes {
				t.Fatalf("parts of %d bytes were agreed on", h.maxPart)
			}
			if v := decide(source, h.history); v.resumeFrom > source.lsn+1 {
				t.Fatalf("%+v", v)
			}
		}
	})
}

// checkAgreed checks what a sink lets a source talk it into.
func checkAgreed(t *testing.T, m *dbv1.SourceMessage, ours history) {
	a, err := parseAnswer(m, ours)
	if err != nil {
		return
	}
	switch {
	case a.resume != nil && (a.resume.from != ours.lsn+1 || a.resume.history.lineage != ours.lineage),
		a.truncate != nil && (a.truncate.lsn >= ours.lsn || a.truncate.source.lineage != ours.lineage),
		a.snapshot != nil && (a.snapshot.source.lineage != ours.lineage || a.snapshot.source.check() != nil),
		a.resume == nil && a.truncate == nil && a.snapshot == nil:
		t.Fatalf("%+v was agreed on", a)
	}
}

func TestRefusalSurvivesGRPC(t *testing.T) {
	for _, r := range []*Refusal{
		refuse(CodeLineageMismatch, "one"), refuseForNow(CodeSourceBehind, "two"), refuseForNow(CodeNamespaceNotFound, "three"), refuse(CodeUnsupportedProtocol, "four"),
		refuseForNow(CodeInvalidMessage, "five"), refuse(CodeNamespaceNotFound, "six"),
	} {
		got := asRefusal(refusalOf(r.Status().Err()))
		if got.Code != r.Code || got.Reason != r.Reason || got.Retryable != r.Retryable {
			t.Errorf("%+v came back as %+v", r, got)
		}
	}
}

// TestRefusalsAreBounded: what the other end says is kept within limits, however it came.
func TestRefusalsAreBounded(t *testing.T) {
	long := &Refusal{Code: strings.Repeat("X", 1000), Reason: strings.Repeat("\u00e4", 10*maxReasonLen)}
	for name, got := range map[string]*Refusal{
		"message": refusalFrom(long.proto()), "error": asRefusal(refusalOf(long.Status().Err())),
	} {
		if len(got.Code) > 100 || len(got.Reason) > maxReasonLen+len("…") || !utf8.ValidString(got.Reason) {
			t.Errorf("%s: a code of %d bytes, a reason of %d", name, len(got.Code), len(got.Reason))
		}
	}
}
