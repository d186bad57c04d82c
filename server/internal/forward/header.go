package forward

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// hopByHop are headers of one connection, which say nothing to the next (RFC 9110, 7.6.1).
// Expect is answered by the hub that the client is connected with.
var hopByHop = []string{
	"Connection", "Expect", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// headers are those of a message, but for those that its Connection header names, in their order by name.
func headers(h http.Header) []*dbv1.Header {
	var listed []string
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			listed = append(listed, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	out := make([]*dbv1.Header, 0, len(h))
	for name, values := range h {
		if !slices.Contains(listed, name) {
			out = append(out, &dbv1.Header{Name: name, Values: values})
		}
	}
	slices.SortFunc(out, func(a, b *dbv1.Header) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// setHeaders puts headers of another hub into h, in the place of those of the same names, but for those
// that hold from hop to hop.
func setHeaders(h http.Header, from []*dbv1.Header) {
	for _, header := range from {
		name := textproto.CanonicalMIMEHeaderKey(header.GetName())
		if !slices.Contains(hopByHop, name) {
			h[name] = slices.Clone(header.GetValues())
		}
	}
}
