package main

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

var subscribers atomic.Int64

// subscriber is a client that gets messages.
type subscriber struct {
	t        *testing.T
	messages chan *paho.Publish
}

// subscribeTo subscribes at a broker, until the test's end.
func subscribeTo(t *testing.T, address, filter string) *subscriber {
	t.Helper()
	s := &subscriber{t: t, messages: make(chan *paho.Publish, 10_000)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			s.messages <- p.Packet
			return true, nil
		}},
	})
	id := string(rune('a' + subscribers.Add(1)%26))
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: "subscriber" + id, CleanStart: true, KeepAlive: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Disconnect(&paho.Disconnect{}) // the broker may be gone
		<-c.Done()
	})
	_, err = c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	// The broker of these tests sends retained messages behind its answer, and isn't
	// ready for others before: it answers the next request, whatever, when it is.
	if answer, err := c.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{"none"}}); answer == nil {
		t.Fatal(err)
	}
	return s
}

func (s *subscriber) next() *paho.Publish {
	s.t.Helper()
	select {
	case p := <-s.messages:
		return p
	case <-time.After(patience):
		s.t.Fatal("the subscriber got nothing")
	}
	panic("unreachable")
}
