// Package client is the Go client of UnisonDB's HTTP API. It needs nothing
// but the standard library.
//
//	c, err := client.New(client.Config{Address: "http://127.0.0.1:4000"})
//	pos, err := c.KV().Put(ctx, []byte("greeting"), []byte("hello"))
//	v, err := c.KV().Get(ctx, []byte("greeting"))
//
// A [Client] is bound to one namespace; [Client.In] gives one for another
// namespace over the same connections. All types are safe for concurrent use
// unless they say otherwise.
//
// # Keys and values
//
// Keys are bytes, any bytes: '/', '%', NUL and 0xFF are part of the key like
// all others. Values travel as they are, without base64, so that a value may be
// as long as the server allows (8 MiB); batches and transactions are JSON, which
// allows 1 MiB a value. What is larger is an object: see [Client.Objects].
//
// # Positions
//
// Every write returns the [Position] at which it became durable, and every read
// carries the position that it saw. A read with [AtLeast] answers, on whichever
// node it arrives, from a state that includes that write. A [Session] does this
// by itself for a series of calls.
//
// # Errors
//
// An answer other than success is an [*Error] with the server's code and
// message; errors.Is tells the kinds apart ([ErrNotFound], [ErrConflict] and so
// on). A node that can't be reached at all is [ErrUnreachable].
//
// # Retries
//
// The client never repeats a request by itself. Of net/http it has what is safe:
// when a kept-alive connection turns out to be closed, a GET is sent again, and
// so is a request of which not a byte had been written. After
// [ErrUnreachable] nothing was sent, and every call may be repeated. After an
// [*Error] nothing was written, unless it is [ErrOutcomeUnknown] or
// [ErrNotReplicated]. After any other error of a write its outcome is unknown:
// repeating it is safe where it is idempotent, as a plain put or delete is, or
// where a condition ([IfVersion], [IfAbsent]) guards it.
package client
