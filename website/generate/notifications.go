package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// examples are notifications as notifiers send them, by name.
func examples() (map[string]string, error) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	put := notifier.Message{
		Event:     notifier.Event{Key: []byte("user:1"), Operation: notifier.Put, EntryType: "kv", LSN: 42, Epoch: 1048577, Count: 1, Time: at},
		Namespace: "orders",
	}
	lineage := "00112233445566778899aabbccddeeff"
	zeromq, durable, row, binary, reset := put, put, put, put, put
	zeromq.TopicSeq, zeromq.Run = 17, "8a6e0a5b7c1d4e2f"
	durable.Lineage = lineage
	row.Lineage, row.EntryType, row.Columns, row.LSN, row.Index, row.Count = lineage, "row", []string{"city", "name"}, 43, 1, 2
	binary.Lineage, binary.Key, binary.LSN, binary.Operation = lineage, []byte{0xff, 0x01}, 44, notifier.Expire
	reset.Lineage, reset.Key, reset.EntryType, reset.Operation, reset.Count = lineage, nil, "", notifier.Reset, 0
	all := map[string]string{}
	for name, v := range map[string]any{
		"zeromq": zeromq, "durable": durable, "row": row, "binary": binary, "reset": reset,
		"webhook": struct {
			Events []notifier.Message `json:"events"`
		}{[]notifier.Message{durable, row}},
	} {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("example %s: %w", name, err)
		}
		all[name] = string(b)
	}
	return all, nil
}
