package main

import (
	"fmt"

	"github.com/eclipse/paho.golang/packets"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// reasons are the broker's codes in words, with what to do about those that
// somebody can do something about.
var reasons = map[byte]string{
	0x80: "unspecified error",
	0x81: "malformed packet",
	0x82: "protocol error",
	0x83: "error of the broker's own",
	0x84: "it doesn't speak MQTT 5: use a broker that does",
	0x85: "client identifier not valid",
	0x86: "bad user name or password: check username and password",
	0x87: "not authorized: allow this user to publish here",
	0x88: "server unavailable",
	0x89: "server busy",
	0x8a: "banned: see the broker's log",
	0x8b: "server shutting down",
	0x8c: "bad authentication method: use a user name and password, or a client certificate",
	0x8d: "keep alive timeout",
	0x8e: "another client took the session over: give each node a node_id of its own",
	0x90: "topic name invalid: change topic",
	0x91: "packet identifier in use",
	0x92: "packet identifier not found",
	0x93: "receive maximum exceeded",
	0x95: "packet too large",
	0x96: "message rate too high",
	0x97: "quota exceeded",
	0x98: "administrative action",
	0x99: "payload format invalid",
	0x9a: "retained messages not supported: set retain = false",
	0x9b: "QoS not supported: set a lower qos",
	0x9c: "use another server: change broker",
	0x9d: "server moved: change broker",
	0x9f: "connection rate exceeded",
	0xa0: "maximum connect time",
}

// describe puts a code and the broker's own words into words.
func describe(code byte, said string) string {
	text := reasons[code]
	if text == "" {
		text = "unknown reason"
	}
	if said != "" {
		return fmt.Sprintf("%s (0x%02X, %q)", text, code, said)
	}
	return fmt.Sprintf("%s (0x%02X)", text, code)
}

// causeOf says what the broker's answer to a message means for the event.
func causeOf(code byte) notifier.Cause {
	switch code {
	case packets.PubackTopicNameInvalid, packets.PubackPayloadFormatInvalid, packets.DisconnectPacketTooLarge:
		return notifier.Invalid
	case packets.PubackQuotaExceeded, packets.DisconnectMessageRateTooHigh, packets.ConnackServerBusy, packets.ConnackServerUnavailable,
		packets.PubackPacketIdentifierInUse, 0x92: // the last two: the broker's session and ours have parted
		return notifier.Unavailable
	default:
		return notifier.Refused
	}
}

// blames reports whether a broker that ends the connection with this code may
// mean a message that it got, so that the same message would end the next one.
func blames(code byte) bool {
	switch code {
	case packets.DisconnectMalformedPacket, packets.DisconnectProtocolError, packets.DisconnectImplementationSpecificError,
		packets.DisconnectUnspecifiedError, packets.DisconnectNotAuthorized, packets.DisconnectTopicNameInvalid,
		packets.DisconnectPacketTooLarge, packets.DisconnectPayloadFormatInvalid:
		return true
	default:
		return false
	}
}
