package main

import (
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/pebbe/zmq4"
)

// message is what the edge reads of a notification.
type message struct {
	Key       string    `json:"key"`
	Operation string    `json:"operation"`
	TopicSeq  uint64    `json:"topic_seq"`
	Run       string    `json:"run"`
	Timestamp time.Time `json:"timestamp"` // of the record, by the hub's clock
}

// #region subscribe

// subscribe delivers a topic's notifications for as long as the program runs. ZeroMQ connects,
// and connects again, by itself, and says nothing about what was published in between.
func subscribe(endpoint, topic string) (<-chan message, error) {
	socket, err := zmq4.NewSocket(zmq4.SUB)
	if err != nil {
		return nil, fmt.Errorf("make a ZeroMQ socket: %w", err)
	}
	if err := socket.SetSubscribe(topic); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	if err := socket.Connect(endpoint); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", endpoint, err)
	}
	heard := make(chan message)
	go func() {
		for {
			frames, err := socket.RecvMessageBytes(0)
			if err != nil {
				log.Printf("no more notifications, the relayer is asked every so often: %v", err)
				return
			}
			var m message
			if err := json.Unmarshal(frames[len(frames)-1], &m); err != nil {
				log.Printf("this is no notification, check the address: %v", err)
				continue
			}
			heard <- m
		}
	}()
	return heard, nil
}

// #endregion subscribe
