package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/httpapi"
)

func TestReadsWaitForAPosition(t *testing.T) {
	f := newFixture(t)
	p := f.do("PUT", "/kv/a", putJSON("1")).position()
	atLeast := func(p dbkernel.Position) header { return header{httpapi.HeaderAtLeast, p.String()} }
	for _, path := range []string{"/kv/a", "/kv", "/row/a", "/row", "/lob", "/offset", "/checkpoint", "/stats"} {
		if got := f.do("GET", path, "", atLeast(p)).refusedWith(200).position(); got.LSN < p.LSN {
			t.Errorf("%s saw %v, not %v", path, got, p)
		}
	}
	next := p
	next.LSN++
	start := time.Now()
	f.do("GET", "/kv/a?wait=50ms", "", atLeast(next)).refused(504, httpapi.CodeNotCaughtUp)
	if took := time.Since(start); took < 50*time.Millisecond || took > 4*time.Second {
		t.Errorf("waited %v of 50ms", took)
	}
	f.do("GET", "/kv/a?wait=0s", "", atLeast(next)).refused(504, httpapi.CodeNotCaughtUp)
	f.do("GET", "/lob/none?wait=1ms", "", atLeast(next)).refused(504, httpapi.CodeNotCaughtUp)

	read := make(chan answer, 1)
	go func() { read <- f.do("GET", "/kv/a?wait=20s", "", atLeast(next)) }()
	f.do("PUT", "/kv/a", putJSON("2")).want(200, ok)
	(<-read).want(200, `{"value":"`+b64("2")+`","found":true,"version":"<any>"}`)
}

func TestLostAndMalformedPositions(t *testing.T) {
	f := newFixture(t)
	p := f.do("PUT", "/kv/a", putJSON("1")).position()
	other := p
	other.Lineage[0] ^= 1
	start := time.Now()
	f.do("GET", "/kv/a?wait=30s", "", header{httpapi.HeaderAtLeast, other.String()}).refused(409, httpapi.CodePositionLost)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("a lost position was waited for: %v", took)
	}
	f.do("PUT", "/kv/a", putJSON("2"), header{httpapi.HeaderAtLeast, other.String()}).refused(409, httpapi.CodePositionLost)
	newer := p
	newer.Epoch += 1 << 20
	f.do("GET", "/kv/a?wait=20ms", "", header{httpapi.HeaderAtLeast, newer.String()}).refused(504, httpapi.CodeNotCaughtUp)
	for _, bad := range []string{"x", "1:2:3", ":::", p.Lineage.String() + ":1", p.Lineage.String() + ":1:-1", p.String() + ":1", strings.ToUpper("z") + p.String()} {
		f.do("GET", "/kv/a", "", header{httpapi.HeaderAtLeast, bad}).refused(400, httpapi.CodeInvalidPosition)
	}
	f.do("GET", "/kv/a", "").want(200, `{"value":"`+b64("1")+`","found":true,"version":"<any>"}`)
}
