package feed

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// standIn is as much of pyzmq as listen.py uses, with messages of its own: the real one
// is seldom installed.
const standIn = `
import json

SUB, SUBSCRIBE = 2, 6


def message(run, seq, operation="put"):
    body = {"key": "k%d" % seq, "operation": operation, "lsn": 40 + seq, "topic_seq": seq, "run": run}
    return [b"orders.kv", json.dumps(body).encode()]


class Socket:
    def __init__(self):
        self.calls = []
        self.messages = [message("r1", 1), message("r1", 2), message("r1", 4), message("r1", 5, "reset"), message("r2", 6), message("r2", 7, "delete")]

    def setsockopt(self, *option):
        self.calls.append(option)

    def connect(self, endpoint):
        assert self.calls == [(SUBSCRIBE, b"orders.")] and endpoint == "tcp://127.0.0.1:5555", (self.calls, endpoint)

    def recv_multipart(self):
        if not self.messages:
            raise KeyboardInterrupt
        return self.messages.pop(0)


class Context:
    @classmethod
    def instance(cls):
        return cls()

    def socket(self, kind):
        assert kind == SUB
        return Socket()
`

const missing = "something may be missing before this: read everything"

// TestPython runs listen.py, with a stand-in for its library.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3: install it")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "zmq.py"), []byte(standIn), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-B", "listen.py", "tcp://127.0.0.1:5555", "orders.")
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	out, err := cmd.CombinedOutput()
	want := "orders.kv 1 " + missing + "\norders.kv 2 put of k2 at LSN 42\norders.kv 4 " + missing +
		"\norders.kv 5 " + missing + "\norders.kv 6 " + missing + "\norders.kv 7 delete of k7 at LSN 47\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, printed\n%s\nwant\n%s", err, out, want)
	}
}
