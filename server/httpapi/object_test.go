package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/server/httpapi"
)

// randomBytes are the same in every run.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

func TestObjects(t *testing.T) {
	f := newFixture(t)
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 5<<20 + 12345} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			data := randomBytes(size)
			path := fmt.Sprintf("/lob/o%d", size)
			sum := crc32.ChecksumIEEE(data)
			want := fmt.Sprintf(`{"success":true,"size":%d,"checksum":%d,"version":"<any>"}`, size, sum)
			f.send("PUT", path, bytes.NewReader(data)).want(200, want).position()
			a := f.do("GET", path, "")
			if a.status != 200 || !bytes.Equal(a.body, data) {
				t.Fatalf("%d, %d bytes came back", a.status, len(a.body))
			}
			a.position()
			if a.header.Get("Content-Length") != fmt.Sprint(size) || a.header.Get("ETag") == "" || a.header.Get(httpapi.HeaderChecksum) != fmt.Sprint(sum) {
				t.Errorf("headers: %v", a.header)
			}
			h := f.do("HEAD", path, "")
			if h.status != 200 || len(h.body) != 0 || h.header.Get("Content-Length") != fmt.Sprint(size) || h.header.Get("ETag") != a.header.Get("ETag") {
				t.Errorf("HEAD: %d %v", h.status, h.header)
			}
			if c := f.do("GET", path, "", header{"If-None-Match", a.header.Get("ETag")}); c.status != 304 || len(c.body) != 0 {
				t.Errorf("what the client has: %d, %d bytes", c.status, len(c.body))
			}
		})
	}
	f.do("GET", "/lob/none", "").refused(404, httpapi.CodeObjectNotFound).position()
	if a := f.do("HEAD", "/lob/none", ""); a.status != 404 {
		t.Errorf("HEAD of nothing: %d", a.status)
	}
	f.do("DELETE", "/lob/o1", "").want(200, ok).position()
	f.do("DELETE", "/lob/o1", "").want(200, ok)
	f.do("GET", "/lob/o1", "").refused(404, httpapi.CodeObjectNotFound)
}

func TestObjectRanges(t *testing.T) {
	f := newFixture(t)
	data := randomBytes(3<<20 + 7)
	f.send("PUT", "/lob/o", bytes.NewReader(data))
	etag := f.do("HEAD", "/lob/o", "").header.Get("ETag")
	n := len(data)
	for spec, want := range map[string][2]int{
		"bytes=0-0": {0, 1}, "bytes=100-199": {100, 200}, "bytes=1048570-1048590": {1048570, 1048591},
		fmt.Sprintf("bytes=%d-", n-5): {n - 5, n}, "bytes=-7": {n - 7, n}, fmt.Sprintf("bytes=5-%d", n*2): {5, n},
	} {
		a := f.do("GET", "/lob/o", "", header{"Range", spec})
		if a.status != 206 || !bytes.Equal(a.body, data[want[0]:want[1]]) {
			t.Errorf("%s: %d, %d bytes", spec, a.status, len(a.body))
		}
		if got, wanted := a.header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, n); got != wanted {
			t.Errorf("%s: Content-Range is %q, want %q", spec, got, wanted)
		}
	}
	a := f.do("GET", "/lob/o", "", header{"Range", fmt.Sprintf("bytes=%d-", n)}).refused(416, httpapi.CodeRangeNotSatisfiable)
	if got := a.header.Get("Content-Range"); got != fmt.Sprintf("bytes */%d", n) {
		t.Errorf("Content-Range of 416 is %q", got)
	}
	f.do("GET", "/lob/o", "", header{"Range", "bytes=a-b"}).refused(416, httpapi.CodeRangeNotSatisfiable)
	if a := f.do("GET", "/lob/o", "", header{"Range", "bytes=0-9"}, header{"If-Range", etag}); a.status != 206 || len(a.body) != 10 {
		t.Errorf("If-Range with the version: %d, %d bytes", a.status, len(a.body))
	}
	if a := f.do("GET", "/lob/o", "", header{"Range", "bytes=0-9"}, header{"If-Range", `"other"`}); a.status != 200 || len(a.body) != n {
		t.Errorf("If-Range with another version: %d, %d bytes", a.status, len(a.body))
	}
	f.do("GET", "/lob/o", "", header{"If-Match", `"other"`}).refused(412, httpapi.CodeConditionFailed)
	if a := f.do("GET", "/lob/o", "", header{"Range", "items=0-9"}); a.status != 200 || len(a.body) != n {
		t.Errorf("a range of an unknown unit: %d, %d bytes", a.status, len(a.body))
	}
	f.do("GET", "/lob/o", "", header{"Range", "bytes=-0"}).refused(416, httpapi.CodeRangeNotSatisfiable)
}

func TestADamagedObjectIsRefusedInWords(t *testing.T) {
	f := newFixture(t)
	data := bytes.Repeat([]byte("the bytes of the object "), 4096)
	f.send("PUT", "/lob/o", bytes.NewReader(data))
	if err := f.ns.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(f.dir, "namespaces", "default", "db", "data.mdb")
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(file, data[:2048])
	if at < 0 {
		t.Fatal("the tree doesn't hold the object")
	}
	tree, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.WriteAt([]byte("THE"), int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/lob/o", "").refused(500, httpapi.CodeDamaged)
	f.do("GET", "/lob/o", "", header{"Range", "bytes=0-9"}).refused(500, httpapi.CodeDamaged)
}

func TestObjectList(t *testing.T) {
	f := newFixture(t)
	for _, key := range []string{"a1", "a2", "a3", "b"} {
		f.do("PUT", "/lob/"+key, strings.Repeat("x", len(key)))
	}
	sum := crc32.ChecksumIEEE([]byte("xx"))
	f.do("GET", "/lob?prefix=a&limit=1", "").want(200, fmt.Sprintf(`{"items":[{"key":"a1","size":2,"version":"<any>","checksum":%d}],"cursor":"<any>"}`, sum)).position()
	if keys := f.listAll("/lob?prefix=a&limit=1", "items", "key", "key_base64"); strings.Join(keys, " ") != "a1 a2 a3" {
		t.Errorf("pages: %v", keys)
	}
}

func TestAnUnfinishedObjectIsNeverVisible(t *testing.T) {
	f := newFixture(t)
	f.do("PUT", "/lob/o", "old")
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "PUT", f.url+"/api/v1/default/lob/o", r)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		res, err := f.client.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		failed <- err
	}()
	if _, err := w.Write(randomBytes(3 << 20)); err != nil {
		t.Fatal(err)
	}
	if a := f.do("GET", "/lob/o", ""); string(a.body) != "old" {
		t.Errorf("during the upload %d bytes are read", len(a.body))
	}
	cancel()
	_ = w.CloseWithError(io.ErrUnexpectedEOF) // frees the client's writer
	if err := <-failed; err == nil {
		t.Error("an upload that was cut off was answered")
	}
	f.api.Wait()
	if a := f.do("GET", "/lob/o", ""); string(a.body) != "old" {
		t.Errorf("after a cut upload %d bytes are read", len(a.body))
	}
}

func TestAReplacedObjectIsReadToItsEnd(t *testing.T) {
	f := newFixture(t)
	data := randomBytes(8 << 20)
	f.send("PUT", "/lob/o", bytes.NewReader(data))
	req, err := http.NewRequestWithContext(t.Context(), "GET", f.url+"/api/v1/default/lob/o", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it is read to its end
	head := make([]byte, 1000)
	if _, err := io.ReadFull(res.Body, head); err != nil {
		t.Fatal(err)
	}
	f.do("PUT", "/lob/o", "new")
	f.do("DELETE", "/lob/o", "")
	rest, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(append(head, rest...), data) {
		t.Errorf("%d bytes came, %v", len(head)+len(rest), err)
	}
}
