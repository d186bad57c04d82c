package httpapi_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/httpapi"
)

func TestMarksAndDigests(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/a", putJSON("1"))
	mark := f.do("POST", "!/v1/namespaces/default/mark", "").want(200, `{"lineage":"<any>","epoch":"<any>","lsn":"<any>"}`)
	lsn := mark.number("lsn")
	if p := mark.position(); p.LSN != lsn || p.Epoch != mark.number("epoch") || p.Lineage.String() != mark.field("lineage") {
		t.Errorf("the mark is %s, its position %v", mark.body, p)
	}
	digests := fmt.Sprintf("!/v1/namespaces/default/digests?mark=%d&wait=30s", lsn)
	a := f.do("GET", digests, "").refusedWith(200)
	first, _ := a.json().(map[string]any)
	if ranges, _ := first["ranges"].([]any); len(ranges) != 1024 || first["lsn"] != float64(lsn) || first["epoch"] != float64(mark.number("epoch")) {
		t.Errorf("%d ranges, lsn %v, epoch %v", len(ranges), first["lsn"], first["epoch"])
	}
	list := f.do("GET", "!/v1/namespaces/default/digests", "").refusedWith(200)
	all, _ := list.json().(map[string]any)["marks"].([]any)
	if len(all) == 0 {
		t.Fatalf("no marks: %s", list.body)
	}
	if newest, _ := all[0].(map[string]any); newest["lsn"] != float64(lsn) || newest["digest"] != first["digest"] {
		t.Errorf("the newest mark is %v", newest)
	}

	f.do("PUT", "/kv/a", putJSON("2"))
	again := f.do("POST", "!/v1/namespaces/default/mark", "").number("lsn")
	b := f.do("GET", fmt.Sprintf("!/v1/namespaces/default/digests?mark=%d&wait=30s", again), "").refusedWith(200)
	if b.field("digest") == a.field("digest") {
		t.Error("another value has the same digest")
	}
	if a.field("digest") != f.do("GET", digests, "").field("digest") {
		t.Error("the digest of an older mark has changed")
	}
}

func TestMarksThatAreNotThere(t *testing.T) {
	f := newFixture(t)
	p := f.do("PUT", "/kv/a", putJSON("1")).position()
	for _, bad := range []string{"0", "x", "-1", ""} {
		f.do("GET", "!/v1/namespaces/default/digests?mark="+bad, "").refused(400, httpapi.CodeBadRequest)
	}
	start := time.Now()
	f.do("GET", fmt.Sprintf("!/v1/namespaces/default/digests?mark=%d&wait=50ms", p.LSN+10), "").refused(504, httpapi.CodeNotCaughtUp)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("waited %v of 50ms", took)
	}
	mark := f.do("POST", "!/v1/namespaces/default/mark", "").number("lsn")
	f.do("GET", fmt.Sprintf("!/v1/namespaces/default/digests?mark=%d&wait=30s", mark), "").refusedWith(200)
	f.do("GET", fmt.Sprintf("!/v1/namespaces/default/digests?mark=%d&wait=30s", p.LSN), "").refused(404, httpapi.CodeMarkNotFound)
	f.do("GET", "!/v1/namespaces/none/digests", "").refused(404, httpapi.CodeNamespaceNotFound)

	replica := newFixture(t, func(o *fixtureOptions) { o.replica = true })
	replica.do("POST", "!/v1/namespaces/default/mark", "").refused(403, httpapi.CodeReadOnly)
}

func TestScrub(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/a", putJSON("1"))
	f.do("POST", "!/v1/namespaces/default/scrub", "").want(200,
		`{"damaged":false,"scrubbed_at":"<any>","scrubbed_lsn":"<any>","scrubs":1,"scrubbing":false,"bad_ranges":[],"damaged_cells":0,"repaired_cells":0}`)
	f.do("POST", "!/v1/namespaces/none/scrub", "").refused(404, httpapi.CodeNamespaceNotFound)
}
