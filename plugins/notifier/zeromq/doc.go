// Command notifier-zeromq publishes a namespace's changes on a ZeroMQ PUB socket,
// for programs that want to hear of a change within a millisecond and can do
// without one that they missed: nothing is kept for a subscriber that is away.
// Changes that have to arrive are for the notifiers mqtt and webhook.
//
//	namespace "orders" {
//	  notifier "zeromq" {
//	    bind_port = 5555
//	  }
//	}
//
// # Configuration
//
//   - bind_port: the port. One socket serves one namespace, so that each block has
//     a port of its own.
//   - bind_address: 127.0.0.1 unless it says otherwise: an IP address, a network
//     interface, "*" for all, or "ipc:///run/unisondb/orders.sock" for a socket in
//     the file system, which has no port. The folder has to exist; who may subscribe
//     there is a matter of the folder's permissions and the node's umask.
//   - high_water_mark: how many messages wait for one slow subscriber, 10000 by
//     default; further ones are lost to it, and to nobody else. A message takes about
//     500 bytes and its key. 0 means no bound: a subscriber that has stopped then
//     costs memory until memory_limit ends the notifier.
//   - linger_time: for how long messages that wait are still sent when the notifier
//     is stopped, 1s by default.
//   - curve: a block for encryption with ZeroMQ's CURVE. secret_key is the socket's,
//     and the public key that subscribers need is in the node's log when the notifier
//     starts. allowed_clients lists the subscribers' public keys, or is ["*"].
//
// # Messages
//
// A message has two frames. The first is the topic: the namespace, a dot, and
// "kv", "row", "lob" or a data model's name. ZeroMQ compares subscriptions with the
// beginning of a topic: "orders.kv" subscribes to one, "orders." to all. The second
// is a JSON object:
//
//	{"key":"user:1","namespace":"orders","operation":"put","entry_type":"kv","seq_num":42,"lsn":42,
//	 "epoch":1048576,"index":0,"count":1,"topic_seq":17,"run":"8a6e…","timestamp":"2026-11-22T08:00:00.123Z"}
//
// A key that isn't valid UTF-8 is in key_base64 instead. operation is put, delete,
// delete_row, expire or reset.
//
// topic_seq rises by one with each message on a topic. One that is higher by more
// says that messages were lost. run names a start of the notifier: topic_seq
// begins at 1 in each, and what was published between two isn't known. A subscriber
// that sees a gap, a new run or a reset reads what it needs from the node; to miss
// nothing in between, it subscribes first and reads then. A reset goes to every
// topic, and says that the history itself was cut.
package main
