// Package certs keeps the certificates of a node's connections: it loads the
// files of a tls block, picks up new ones while the node runs, makes connections with
// them in both directions, and creates certificates for a test or a small fleet.
//
// A Store is one tls block. Each handshake uses the newest files that were in
// order as a whole: a certificate without its key, a file that is half written or an
// expired certificate leaves the old ones in use, and the Store says so in the log and in
// its Status. A connection that is up isn't touched, whatever happens to the files.
//
// Only TLS 1.3 is spoken, and sessions aren't resumed: a resumed session would skip
// the check of the other end's certificate, and a CA that was taken away would
// live on in tickets.
package certs
