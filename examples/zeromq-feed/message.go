package feed

import "encoding/json"

// #region message

// Message is the second frame of a notification.
type Message struct {
	Key       string `json:"key"`
	KeyBase64 []byte `json:"key_base64"` // instead of Key, where that isn't UTF-8
	Namespace string `json:"namespace"`
	Operation string `json:"operation"`  // put, delete, delete_row, expire or reset
	EntryType string `json:"entry_type"` // kv, row, lob, or a data model's name
	Epoch     uint64 `json:"epoch"`
	LSN       uint64 `json:"lsn"`
	Index     int    `json:"index"`
	Count     int    `json:"count"`
	TopicSeq  uint64 `json:"topic_seq"`
	Run       string `json:"run"`
	Timestamp string `json:"timestamp"`
}

// parse reads a message of two frames.
func parse(frames [][]byte) (topic string, m Message, err error) {
	if len(frames) != 2 {
		return "", Message{}, errFrames
	}
	if err := json.Unmarshal(frames[1], &m); err != nil {
		return "", Message{}, err
	}
	if m.Key == "" {
		m.Key = string(m.KeyBase64)
	}
	return string(frames[0]), m, nil
}

// #endregion message
