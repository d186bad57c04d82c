package pluginhost_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/sdk/datamodel"
	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
)

// TestMain is the tests, or one of the plugins that they run: links to the test
// binary, whose name says which.
func TestMain(m *testing.M) {
	if os.Getenv(plugin.Handshake.MagicCookieKey) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	switch name := filepath.Base(os.Args[0]); name {
	case "notifier-exits":
		_, _ = os.Stderr.WriteString("cannot read /etc/exits.conf\n")
		syscall.Exit(7)
	case "notifier-hangs", "notifier-sleeps", "notifier-floods", "notifier-hoards":
		_, mode, _ := strings.Cut(name, "-")
		notifier.Serve(notifier.Program{Info: plugin.Info{Name: mode, Version: "1.0.0"}, Notifier: broken{mode}})
	case "notifier-lines", "notifier-shout":
		_, kind, _ := strings.Cut(name, "-")
		notifier.Serve(notifier.Program{
			Info: plugin.Info{Name: kind, Version: "1.0.0"}, Config: settings{}, Notifier: &lines{}, FireAndForget: kind == "shout",
		})
	case "model-sums":
		datamodel.Serve(datamodel.Program{
			Info: plugin.Info{Name: "sums", Version: "1.0.0"}, Model: sums{},
			Methods: []datamodel.Method{{Name: "add", Writes: true}, {Name: "get"}},
		})
	}
	syscall.Exit(0) // os.Exit takes a second under the race detector
}

// settings is the configuration of the notifiers.
type settings struct {
	Address string `config:"address,required"`
}

// lines sends events as lines of JSON to a socket of the test's, which accepts each
// batch by a line of its own.
type lines struct{ settings settings }

func (l *lines) Configure(_ context.Context, c plugin.Config) error { return c.Decode(&l.settings) }

func (l *lines) Notify(_ context.Context, b notifier.Batch) (notifier.Result, error) {
	var out []byte
	for i := range b.Events {
		out = append(b.Message(i).AppendJSON(out), '\n')
	}
	conn, err := net.Dial("unix", l.settings.Address)
	if err != nil {
		return notifier.Result{}, err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(append(out, '\n')); err != nil {
		return notifier.Result{}, err
	}
	answer := make([]byte, 8)
	n, err := conn.Read(answer)
	if err != nil {
		return notifier.Result{}, err
	}
	if string(answer[:n]) == "no" {
		return notifier.Result{Rejected: []notifier.Rejection{{Event: 0, Cause: notifier.Invalid, Reason: "not wanted"}}}, nil
	}
	return notifier.Result{}, nil
}

func (l *lines) Close(context.Context) error { return nil }

// broken does what its mode says.
type broken struct{ mode string }

func (b broken) Configure(context.Context, plugin.Config) error {
	switch b.mode {
	case "hangs":
		select {}
	case "floods":
		go func() {
			stderr := os.NewFile(2, "stderr")
			for {
				_, _ = stderr.WriteString(strings.Repeat("flood ", 10) + "\n")
			}
		}()
	case "hoards":
		go func() {
			for all := []byte{}; ; {
				all = append(all, make([]byte, 8<<20)...)
			}
		}()
	}
	return nil
}

func (b broken) Notify(context.Context, notifier.Batch) (notifier.Result, error) {
	if b.mode == "sleeps" {
		select {}
	}
	return notifier.Result{}, nil
}

func (broken) Close(context.Context) error { return nil }

// sums is a data model that counts.
type sums struct{}

func (sums) Configure(context.Context, plugin.Config, datamodel.Views) error { return nil }

func (sums) Close(context.Context) error { return nil }

func (sums) Call(ctx context.Context, c datamodel.Call) (datamodel.Answer, error) {
	var by int
	if c.Method == "add" {
		if err := json.Unmarshal(c.Body, &by); err != nil {
			return datamodel.Answer{}, &datamodel.Error{Status: 400, Code: "BAD_REQUEST", Message: "send a number"}
		}
	}
	items, position, err := c.View.Get(ctx, []byte("sum"))
	if err != nil {
		return datamodel.Answer{}, err
	}
	sum := 0
	if items[0].Version != "" {
		if sum, err = strconv.Atoi(string(items[0].Value)); err != nil {
			return datamodel.Answer{}, errors.New("the sum is no number")
		}
	}
	if c.Method == "get" {
		return datamodel.Answer{Body: strconv.AppendInt(nil, int64(sum), 10), Position: position}, nil
	}
	value := strconv.AppendInt(nil, int64(sum+by), 10)
	return datamodel.Answer{
		Body: value, Operations: []datamodel.Operation{{Key: []byte("sum"), Value: value}},
		Reads: []datamodel.Read{{Key: []byte("sum"), Version: items[0].Version}},
	}, nil
}
