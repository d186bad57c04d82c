package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/unisondb/unisondb/server/httpapi"
)

// impatient is a fixture whose API gives slow clients little time.
func impatient(t *testing.T) *fixture {
	return newFixture(t, func(o *fixtureOptions) { o.patience = 200 * time.Millisecond })
}

// dial connects to the API without an HTTP client's help.
func (f *fixture) dial() *net.TCPConn {
	f.t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	conn, err := net.DialTCP("tcp", nil, addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() }) // the other end may have closed it
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		f.t.Fatal(err)
	}
	return conn
}

func TestABodyThatStandsStillIsGivenUp(t *testing.T) {
	f := impatient(t)
	for path, headers := range map[string]string{
		"/kv/slow":  "Content-Type: application/octet-stream\r\n",
		"/lob/slow": "",
		"/row/slow": "",
	} {
		conn := f.dial()
		if _, err := fmt.Fprintf(conn, "PUT /api/v1/default%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: 100\r\n\r\nonly this", path, headers); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(conn)
		if err != nil || !bytes.Contains(b, []byte("408 Request Timeout")) || !bytes.Contains(b, []byte(httpapi.CodeRequestTimeout)) {
			t.Errorf("%s: %v: %s", path, err, b)
		}
	}
	f.do("GET", "/lob/slow", "").refused(404, httpapi.CodeObjectNotFound)
	f.do("GET", "/kv/slow", "").want(200, `{"value":"","found":false}`)
}

func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	f := impatient(t)
	f.send("PUT", "/lob/large", bytes.NewReader(randomBytes(32<<20)))
	conn := f.dial()
	if err := conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "GET /api/v1/default/lob/large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).Peek(1); err != nil { // the answer has begun
		t.Fatal(err)
	}
	f.api.Wait() // without a byte more taken, the request ends
}

func TestASlowClientGetsALargeValueWhole(t *testing.T) {
	f := newFixture(t, func(o *fixtureOptions) { o.patience = time.Second })
	value := randomBytes(8 << 20)
	f.send("PUT", "/kv/large", bytes.NewReader(value), octets)
	conn := f.dial()
	if err := conn.SetReadBuffer(128 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "GET /api/v1/default/kv/large?raw=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// It takes about 2.5 MiB a second: each piece in time, and all of it in no time that
	// the API grants at once.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var got bytes.Buffer
	for err := error(nil); err == nil; <-tick.C {
		_, err = io.CopyN(&got, conn, 128<<10)
	}
	if !bytes.HasSuffix(got.Bytes(), value) {
		t.Errorf("%d bytes arrived", got.Len())
	}
}

func TestIdleBodiesDontStopLargeWrites(t *testing.T) {
	f := newFixture(t, func(o *fixtureOptions) { o.memory = 1 })
	for range 4 {
		if _, err := fmt.Fprint(f.dial(), "POST /api/v1/default/kv/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	f.waitInFlight(4)
	f.send("PUT", "/kv/large", bytes.NewReader(randomBytes(4<<20)), octets).want(200, ok)
}

func TestNoMemoryForABodyIsAnAnswer(t *testing.T) {
	f := newFixture(t, func(o *fixtureOptions) { o.memory = 1 })
	f.api.SetMemoryPatience(50 * time.Millisecond)
	free := f.api.TakeMemory(t)
	f.send("PUT", "/kv/large", bytes.NewReader(randomBytes(4<<20)), octets).refused(503, httpapi.CodeBusy)
	free()
	for i := range 4 {
		f.send("PUT", fmt.Sprintf("/kv/large%d", i), bytes.NewReader(randomBytes(4<<20)), octets).want(200, ok)
	}
	free = f.api.TakeMemory(t)
	f.do("POST", "/kv/batch", `{"operation":"get","keys":["large0","large1"]}`).refused(503, httpapi.CodeBusy)
	f.do("POST", "/tx", `{"then":[{"op":"get","type":"kv","key":"large0"}]}`).refused(503, httpapi.CodeBusy)
	free()
	f.do("POST", "/kv/batch", `{"operation":"get","keys":["large0","large1"]}`).refusedWith(200)
	f.api.TakeMemory(t)() // all of it was given back
}

func TestAConnectionIsGoodForManySlowRequests(t *testing.T) {
	f := impatient(t)
	conn := f.dial()
	answers := bufio.NewReader(conn)
	for i := range 3 {
		if _, err := fmt.Fprintf(conn, "PUT /api/v1/default/kv/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("request %d: %v: %q", i, err, line)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(conn, "v"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("request %d: %v: %v", i, err, res)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		// The deadlines of the last request end while the connection is idle.
		waited := make(chan struct{})
		time.AfterFunc(300*time.Millisecond, func() { close(waited) })
		<-waited
	}
}

func TestEverythingReadsTheSameFromTheTree(t *testing.T) {
	f := newFixture(t)
	for i := range 300 {
		f.do("PUT", fmt.Sprintf("/kv/k%03d", i), strings.Repeat(fmt.Sprint(i%10), i*20), octets)
		f.do("PUT", fmt.Sprintf("/row/r%03d", i), fmt.Sprintf(`{"columns":{"a":"%s","b":"%s"}}`, b64(fmt.Sprint(i)), b64(strings.Repeat("x", i))))
	}
	for i := range 5 {
		f.send("PUT", fmt.Sprintf("/lob/o%d", i), bytes.NewReader(randomBytes(i<<20)))
	}
	paths := []string{"/kv?limit=300", "/row?limit=300", "/kv?limit=300&reverse=true", "/row?columns=b&limit=300", "/lob", "/kv/k299", "/row/r017", "/lob/o3", "/kv?prefix=k1&start=k15"}
	before := map[string][]byte{}
	for _, path := range paths {
		before[path] = f.do("GET", path, "").refusedWith(200).body
	}
	if err := f.ns.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if after := f.do("GET", path, "").refusedWith(200).body; !bytes.Equal(after, before[path]) {
			t.Errorf("%s reads differently after the flush:\n%.300s\nbefore:\n%.300s", path, after, before[path])
		}
	}
}
