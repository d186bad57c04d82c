package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pebbe/zmq4"
	"go.uber.org/goleak"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// patience is a backstop: no test is meant to wait that long.
const patience = 2 * time.Minute

// asSubscriber makes the test binary a subscriber, which is a process of its own.
const asSubscriber = "UNISONDB_TEST_SUBSCRIBER"

func TestMain(m *testing.M) {
	if order := os.Getenv(asSubscriber); order != "" {
		if err := subscribe(order, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "subscriber:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// subscription is what a subscriber is asked to do.
type subscription struct {
	Endpoint string
	Topics   []string
	Receive  int // high-water mark, 0: libzmq's
	// Keys, where the socket wants them: the server's public key, and our pair.
	Server, Public, Secret string
}

// received is a line that a subscriber prints for a message.
type received struct {
	Topic string
	Body  json.RawMessage
	Parts int
}

// subscribe prints messages. Where something stands on its input, it stops
// reading the socket until the next line comes: "pause", "resume".
func subscribe(order string, in io.Reader, out io.Writer) error {
	var s subscription
	if err := json.Unmarshal([]byte(order), &s); err != nil {
		return err
	}
	socket, err := zmq4.NewSocket(zmq4.SUB)
	if err != nil {
		return err
	}
	if err := s.configure(socket); err != nil {
		return err
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	w := json.NewEncoder(out)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			if line == "pause" {
				if err := w.Encode(received{Topic: "paused"}); err != nil {
					return err
				}
				<-lines
			}
		default:
		}
		parts, err := socket.RecvMessageBytes(0)
		if errors.Is(err, zmq4.Errno(11)) { // the receive timeout
			continue
		}
		if err != nil {
			return err
		}
		if err := w.Encode(received{Topic: string(parts[0]), Body: parts[len(parts)-1], Parts: len(parts)}); err != nil {
			return err
		}
	}
}

func (s subscription) configure(socket *zmq4.Socket) error {
	err := socket.SetRcvtimeo(5 * time.Millisecond) // between looks at the input
	if s.Receive > 0 {
		err = errors.Join(err, socket.SetRcvhwm(s.Receive))
	}
	if s.Server != "" {
		err = errors.Join(err, socket.ClientAuthCurve(s.Server, s.Public, s.Secret))
	}
	for _, topic := range s.Topics {
		err = errors.Join(err, socket.SetSubscribe(topic))
	}
	return errors.Join(err, socket.SetIpv6(strings.Contains(s.Endpoint, "[")), socket.Connect(s.Endpoint))
}

// subscriber is a process that has subscribed.
type subscriber struct {
	t        *testing.T
	process  *os.Process
	in       io.WriteCloser
	messages chan received // closed when it ends
}

// startSubscriber starts one, which ends with the test.
func startSubscriber(t *testing.T, s subscription) *subscriber {
	t.Helper()
	order, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asSubscriber+"="+string(order), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sub := &subscriber{t: t, process: cmd.Process, in: in, messages: make(chan received, 100_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(sub.messages)
		for d := json.NewDecoder(out); ; {
			var m received
			if d.Decode(&m) != nil {
				return
			}
			sub.messages <- m
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT) // where a test failed in between
		_ = in.Close()                          // it ends at the end of its input
		<-done
		if err := cmd.Wait(); err != nil {
			t.Errorf("the subscriber ended: %v", err)
		}
	})
	return sub
}

// signal stops the whole process, libzmq's threads included, or has it go on.
func (s *subscriber) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *subscriber) tell(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// next waits for a message.
func (s *subscriber) next() received {
	s.t.Helper()
	select {
	case m, ok := <-s.messages:
		if !ok {
			s.t.Fatal("the subscriber has ended")
		}
		return m
	case <-time.After(patience):
		s.t.Fatal("the subscriber got nothing")
	}
	panic("unreachable")
}

// message decodes what came.
func (s *subscriber) message(r received) notifier.Message {
	s.t.Helper()
	if r.Parts != 2 {
		s.t.Fatalf("a message has %d frames, not 2", r.Parts)
	}
	var m notifier.Message
	if err := json.Unmarshal(r.Body, &m); err != nil {
		s.t.Fatalf("%s: %v", r.Body, err)
	}
	return m
}

// expect gives the next n messages.
func (s *subscriber) expect(n int) []notifier.Message {
	s.t.Helper()
	var all []notifier.Message
	for range n {
		all = append(all, s.message(s.next()))
	}
	return all
}
