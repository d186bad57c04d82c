package main

import "testing"

func TestCursor(t *testing.T) {
	steps := []struct {
		m    message
		want string
	}{
		{message{Run: "a", TopicSeq: 7, Key: "other"}, "a run of the notifier is new"}, // nobody knows what came before
		{message{Run: "a", TopicSeq: 8, Key: "other"}, ""},
		{message{Run: "a", TopicSeq: 9, Key: "release"}, "it was notified"},
		{message{Run: "a", TopicSeq: 10, Key: "other"}, ""},
		{message{Run: "a", TopicSeq: 12, Key: "other"}, "notifications were lost"},
		{message{Run: "a", TopicSeq: 13, Key: "other"}, ""},
		{message{Run: "b", TopicSeq: 14, Key: "other"}, "a run of the notifier is new"},
		{message{Run: "b", TopicSeq: 15, Operation: "reset"}, "the history was cut"},
		{message{Run: "b", TopicSeq: 16, Key: "other"}, ""},
	}
	var c cursor
	for i, s := range steps {
		if got := c.take(s.m); got != s.want {
			t.Errorf("step %d, %+v: %q, want %q", i, s.m, got, s.want)
		}
	}
}
