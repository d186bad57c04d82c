package httpapi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server/httpapi"
)

func TestLogRoutes(t *testing.T) {
	f := newFixture(t)
	p := f.do("PUT", "/kv/a", putJSON("1")).position()
	offset := f.do("GET", "/offset", "").want(200, `{"segmentId":1,"offset":"<any>","lsn":"<any>","epoch":"<any>"}`)
	if offset.number("lsn") != p.LSN || offset.number("epoch") != p.Epoch || offset.number("offset") == 0 {
		t.Errorf("the log ends at %s, the write was %v", offset.body, p)
	}
	checkpoint := f.do("GET", "/checkpoint", "").want(200, `{"recordProcessed":"<any>","segmentId":"<any>","offset":"<any>","lsn":"<any>"}`)
	if checkpoint.number("lsn") != 0 || checkpoint.number("recordProcessed") != 0 {
		t.Errorf("before a flush the tree has %s", checkpoint.body)
	}
	if err := f.ns.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkpoint = f.do("GET", "/checkpoint", "")
	if checkpoint.number("lsn") < p.LSN || checkpoint.number("recordProcessed") != checkpoint.number("lsn") {
		t.Errorf("after a flush the tree has %s", checkpoint.body)
	}
	stats := f.do("GET", "/stats", "")
	if stats.field("namespace") != "default" || stats.number("opsReceived") == 0 || stats.number("opsFlushed") == 0 || stats.number("currentSegment") == 0 || stats.number("currentOffset") == 0 {
		t.Errorf("stats: %s", stats.body)
	}
}

func TestBackups(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/kv/a", putJSON("1"))
	f.do("POST", "/wal/backup", `{"afterSegmentId":0,"backupDir":"monday/log"}`).want(200, `{"backups":[{"segmentId":1,"path":"<any>"}]}`)
	f.do("POST", "/wal/backup", `{"afterSegmentId":99,"backupDir":"nothing new"}`).want(200, `{"backups":[]}`)
	tree := f.do("POST", "/btree/backup", `{"path":"monday/tree.mdb"}`).want(200, `{"path":"<any>","bytes":"<any>"}`)
	if info, err := os.Stat(filepath.Join(f.dir, "backups", "monday", "tree.mdb")); err != nil || uint64(info.Size()) != tree.number("bytes") {
		t.Errorf("the backup of the tree: %v, %v", info, err)
	}
	entries, err := os.ReadDir(filepath.Join(f.dir, "backups", "monday", "log"))
	if err != nil || len(entries) == 0 {
		t.Errorf("the backup of the log: %v, %v", entries, err)
	}
	f.do("POST", "/wal/backup", `{"backupDir":"monday/log"}`).refused(409, httpapi.CodeBackupExists)
	f.do("POST", "/btree/backup", `{"path":"monday/tree.mdb"}`).refused(409, httpapi.CodeBackupExists)
	f.do("POST", "/btree/backup", `{"path":"monday/tree.mdb/below"}`).refused(400, httpapi.CodeBadRequest)
}

func TestBackupsStayBelowTheirDirectory(t *testing.T) {
	f := newFixture(t)
	outside := t.TempDir()
	if err := os.MkdirAll(filepath.Join(f.dir, "backups"), 0o750); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"out": outside, "up": "..", "dangling": filepath.Join(outside, "new")} {
		if err := os.Symlink(target, filepath.Join(f.dir, "backups", link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "/", "/tmp/x", outside + "/x", "../x", "a/../../x", "a/../b", "./..", "a/..", "x\\u0000y", `a\\b`,
		"out/x", "up/x", "up/namespaces/x", "dangling/x",
	} {
		a := f.do("POST", "/btree/backup", `{"path":"`+name+`"}`).refused(400, httpapi.CodeBadRequest)
		f.do("POST", "/wal/backup", `{"backupDir":"`+name+`"}`).refused(400, httpapi.CodeBadRequest)
		if strings.Contains(a.field("error"), "no such file") {
			t.Errorf("%q was tried outside: %s", name, a.body)
		}
	}
	for _, link := range []string{"out", "up", "dangling"} {
		f.do("POST", "/btree/backup", `{"path":"`+link+`"}`).refused(409, httpapi.CodeBackupExists)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("outside there is now %v, %v", entries, err)
	}
	f.do("POST", "/btree/backup", `{"path":"x","compact":true}`).refused(400, httpapi.CodeInvalidJSON)
	f.do("POST", "/wal/backup", `{"afterSegmentId":-1,"backupDir":"x"}`).refused(400, httpapi.CodeInvalidJSON)
}
