// Command notifier-mqtt publishes namespaces' changes to an MQTT 5 broker. It is
// at-least-once: a change counts as delivered when the broker has acknowledged it,
// and comes again until then, across restarts of broker, notifier and node.
//
//	notifier "mqtt" "bus" {
//	  namespaces = ["orders", "stock"]
//	  config {
//	    broker   = "mqtts://broker.example.com:8883"
//	    username = "node"
//	    password = env("MQTT_PASSWORD")
//	    tls {
//	      ca_file = "/etc/unisondb/broker-ca.crt"
//	    }
//	  }
//	}
//
// # Configuration
//
//   - broker: mqtt://host:1883, or mqtts://host:8883 for TLS. The ports are the
//     defaults.
//   - qos: 0, 1 or 2; 1 unless it says otherwise. With 1 and 2 the broker
//     acknowledges each message. With 0 nobody does: what is on its way when a connection
//     breaks may be lost. 2 spares copies between node and broker only while one connection lasts: receivers
//     tell copies by lineage, epoch, lsn and index, whatever the QoS.
//   - topic: where a change is published; see below.
//   - retain: whether the broker keeps the last change of each key for those who
//     subscribe later; false unless it says otherwise.
//   - username, password.
//   - tls: ca_file, the certificates to trust the broker by (the system's unless it
//     says otherwise), cert_file and key_file, where the broker asks for a certificate.
//     The files are read at each connection, so that they can be replaced.
//
// # Topics
//
// The topic is a template: unisondb/{{namespace}}/{{entry_type}}/{{key}} unless it
// says otherwise. {{operation}} can be used as well. entry_type is kv, row, lob or
// a data model's name. Values are escaped, so that each stays within one level and no two
// make the same topic: a percent sign and two hexadecimal digits, as in a URL, stand
// for each byte of
//
//   - % / + # $
//   - control characters, U+FEFF and those that Unicode says are no characters
//   - what isn't valid UTF-8
//
// and everything else is as it is. The key "a/b" is a%2Fb. An empty value would be a
// percent sign alone.
//
// # Messages
//
// The payload is a JSON object, with content type application/json:
//
//	{"key":"user:1","namespace":"orders","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,
//	 "epoch":1048576,"index":0,"count":1,"lineage":"…","timestamp":"2026-11-22T08:00:00.123Z"}
//
// A key that isn't valid UTF-8 is in key_base64 instead. operation is put, delete,
// delete_row, expire or reset. A reset says that the history was cut, and that what was
// derived from earlier changes is to be read again. It is published once for each
// entry type, with %reset in the key's place, and never retained.
//
// Each key's changes come in order. A copy of an earlier change may follow later
// ones, after an interruption; then those come again behind it. Order between keys is
// as good as the broker keeps it.
//
// # Retained messages
//
// With retain = true the topic of a key holds the message of its last change.
// When a key, a large object or a row ends, subscribers get the message of that,
// which is not retained, and then an empty one, which removes the retained message: a
// subscriber passes over messages without a payload. The end of single columns of a row
// is retained like any change. After a reset the broker may still hold messages of keys
// that ended in the part of the history that was cut: their lineage or epoch is old.
//
// # What the broker says
//
// A message that the broker refuses (not authorized, for example) is tried again
// and becomes a dead letter after max_refusals; one that can never be right (a topic
// that the broker finds invalid, a message longer than it takes) becomes one at once.
// Everything else waits: a broker that can't be reached, that doesn't know the password,
// that is busy or over its quota. operator plugin info shows what it said.
//
// The client identifier is made of node_id and the block's name. Two nodes with the
// same node_id would throw each other off the broker in turn.
package main
