package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/internal/forward"
)

// The headers of the data API.
const (
	HeaderPosition  = "X-Unisondb-Position"   // what a write made or a read saw
	HeaderAtLeast   = "X-Unisondb-At-Least"   // what a read must include
	HeaderOwner     = "X-Unisondb-Owner"      // who takes the writes that this node refuses
	HeaderChecksum  = "X-Unisondb-Checksum"   // CRC-32 (IEEE) of a large object, in decimal
	HeaderExpiresAt = "X-Unisondb-Expires-At" // of byte bodies, RFC 3339
)

const (
	defaultWait = 5 * time.Second
	maxWait     = 10 * time.Minute
)

// call is one request on its way through the door. It belongs to the request's goroutine.
type call struct {
	*http.Request
	pathArgs

	api   *API
	w     *recorder
	route string
	query url.Values
	ns    *dbkernel.Namespace // nil on system endpoints

	wait    time.Duration // how long the request may wait for a position, or for followers
	began   time.Time     // when it began to wait for its position
	acks    int           // how many followers a write waits for
	written *committed    // by a write that is to be answered; nil: none

	incoming *forward.Incoming // of a request that another hub has passed on
	atOwner  bool              // writes have to go to another hub
	kept     []byte            // the body, where it was read before the handler; nil: it wasn't

	reserved int64 // of the API's body memory
	sent     int64 // the part of reserved that holds the request's body
}

func (c *call) parseQuery() (err error) {
	if c.query, err = url.ParseQuery(c.URL.RawQuery); err != nil {
		return badRequest(CodeBadRequest, "the query is not percent-encoded properly: %v", err)
	}
	return nil
}

// enterNamespace finds the namespace of the path, refuses what this version
// can't do, and waits for the position that the request asks for.
func (c *call) enterNamespace() (err error) {
	if !dbkernel.ValidName(c.namespace) {
		return namespaceNotFound(c.namespace)
	}
	if err := c.lookUp(); err != nil {
		return err
	}
	if err := c.refusePast(); err != nil {
		return err
	}
	if err := c.parseWaits(); err != nil {
		return err
	}
	c.began = time.Now()
	return c.onCurrent(c.waitForPosition)
}

// lookUp finds the namespace as it is by now.
func (c *call) lookUp() (err error) {
	c.ns, err = c.api.node.Namespace(c.namespace)
	if errors.Is(err, dbkernel.ErrNamespaceNotFound) {
		return namespaceNotFound(c.namespace)
	}
	return err
}

// maxExchanges is how often a namespace may be exchanged under one request.
const maxExchanges = 3

// onCurrent runs a read on the namespace. Where a snapshot or a truncation has
// exchanged the namespace since it was looked up, the read runs again on what took its place,
// which must include the position asked for, too: the wait goes on with the time that is left.
func (c *call) onCurrent(read func() error) error {
	err := read()
	for n := 0; n < maxExchanges && errors.Is(err, dbkernel.ErrSuperseded); n++ {
		if err := c.lookUp(); err != nil {
			return err
		}
		if err = c.waitForPosition(); err == nil {
			err = read()
		}
	}
	return err
}

// refusePast answers reads of the past, of which this version keeps nothing.
func (c *call) refusePast() error {
	if s, ok := c.param("as_of"); ok {
		_, errLSN := strconv.ParseUint(s, 10, 64)
		_, errTime := time.Parse(time.RFC3339, s)
		if errLSN != nil && errTime != nil {
			return badRequest(CodeBadRequest, "as_of=%q is neither an LSN nor an RFC 3339 time", s)
		}
		return &Error{Status: http.StatusGone, Code: CodeHistoryGone,
			Message: "this namespace keeps no old versions (storage.history is 0s): leave as_of out to read the newest state"}
	}
	return nil
}

// parseWaits reads what the request may wait for, and for how long.
func (c *call) parseWaits() (err error) {
	if c.acks, err = c.followers(); err != nil {
		return err
	}
	if c.wait, err = c.duration("wait", defaultWait); err != nil {
		return err
	}
	if c.wait < 0 || c.wait > maxWait {
		return badRequest(CodeBadRequest, "wait=%v is out of range: use 0s to %v", c.wait, maxWait)
	}
	return nil
}

// waitForPosition holds the request until the namespace includes the position
// of X-Unisondb-At-Least.
func (c *call) waitForPosition() error {
	s := c.Header.Get(HeaderAtLeast)
	if s == "" {
		return nil
	}
	p, err := dbkernel.ParsePosition(strings.TrimSpace(s))
	if err != nil {
		return badRequest(CodeInvalidPosition, "%s: %v", HeaderAtLeast, err)
	}
	ctx, cancel := context.WithDeadline(c.Context(), c.began.Add(c.wait))
	defer cancel()
	defer context.AfterFunc(c.api.draining, cancel)()
	if err := c.ns.WaitFor(ctx, p); err == nil || !c.api.isDraining() {
		return err
	}
	return c.shuttingDown()
}

// shuttingDown refuses the request because the node stops.
func (c *call) shuttingDown() error {
	c.w.Header().Set("Connection", "close")
	return errShuttingDown()
}

// param is a query parameter and whether it is there at all.
func (c *call) param(name string) (string, bool) {
	v := c.query[name]
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

func (c *call) duration(name string, absent time.Duration) (time.Duration, error) {
	s, ok := c.param(name)
	if !ok {
		return absent, nil
	}
	return parseDuration(name, s)
}

func parseDuration(name, s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, badRequest(CodeBadRequest, `%s: %q is not a duration: write it as "30s" or "1h"`, name, s)
	}
	return d, nil
}

// ttl is how long what is written lives; 0 means for good.
func (c *call) ttl() (time.Duration, error) {
	s, ok := c.param("ttl")
	if !ok {
		return 0, nil
	}
	return parseTTL("ttl", s)
}

func parseTTL(name, s string) (time.Duration, error) {
	d, err := parseDuration(name, s)
	if err == nil && d <= 0 {
		return 0, badRequest(CodeBadRequest, "%s: %q is not in the future: use a positive duration, or leave it out to keep the value for good", name, s)
	}
	return d, err
}

func (c *call) flag(name string) (bool, error) {
	s, ok := c.param(name)
	if !ok {
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, badRequest(CodeBadRequest, "%s=%q is not a boolean: use true or false", name, s)
	}
	return b, nil
}

// columnNames are the columns that a query names: columns=a,b, or column=
// repeated for names that hold a comma. nil means none was named.
func (c *call) columnNames() ([]string, error) {
	names := append([]string(nil), c.query["column"]...)
	for _, list := range c.query["columns"] {
		if list != "" {
			names = append(names, strings.Split(list, ",")...)
		}
	}
	for _, name := range names {
		if err := checkColumn("columns", name); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// checkKey refuses what can't be a key. What names the field to the client.
func checkKey(what string, key []byte) error {
	switch {
	case len(key) == 0:
		return badRequest(CodeInvalidKey, "%s is empty: a key has 1 to %d bytes", what, dbkernel.MaxKeyLen)
	case len(key) > dbkernel.MaxKeyLen:
		return badRequest(CodeInvalidKey, "%s has %d bytes: a key has at most %d", what, len(key), dbkernel.MaxKeyLen)
	}
	return nil
}

func checkColumn(what, name string) error {
	switch {
	case name == "":
		return badRequest(CodeInvalidKey, "%s holds an empty column name: give every column a name", what)
	case len(name) >= dbkernel.MaxKeyLen:
		return badRequest(CodeInvalidKey, "%s: a column name has %d bytes: row key and column name together have at most %d", what, len(name), dbkernel.MaxKeyLen)
	case !utf8.ValidString(name):
		return badRequest(CodeInvalidKey, "%s: the column name %q is not valid UTF-8; only row keys may hold any bytes", what, name)
	}
	return nil
}

// checkColumns refuses columns that don't fit the row's key.
func checkColumns(what string, row []byte, names []string) error {
	for _, name := range names {
		if err := checkColumn(what, name); err != nil {
			return err
		}
		if len(row)+len(name) > dbkernel.MaxKeyLen {
			return badRequest(CodeInvalidKey, "%s: row key and column name %q have %d bytes together, at most %d go", what, name, len(row)+len(name), dbkernel.MaxKeyLen)
		}
	}
	return nil
}

// view runs fn on a view of the newest state, and answers its position.
func (c *call) view(fn func(*dbkernel.View) error) error {
	var v *dbkernel.View
	err := c.onCurrent(func() (err error) { v, err = c.ns.View(); return err })
	if err != nil {
		return err
	}
	defer v.Close()
	c.position(v.Position())
	return fn(v)
}

// position tells the client what its write made, or its read saw.
func (c *call) position(p dbkernel.Position) { c.w.Header().Set(HeaderPosition, p.String()) }

// onLog runs a read of the log itself, which opens no tree of an idle namespace,
// and answers its position: what a view would have seen before it.
func (c *call) onLog(read func() error) error {
	return c.onCurrent(func() error {
		p, err := c.ns.Position()
		if err != nil {
			return err
		}
		c.position(p)
		return read()
	})
}

func (c *call) json(v any) error {
	writeJSON(c.w, http.StatusOK, v)
	return nil
}

// success is the plainest answer to a write.
type success struct {
	Success bool `json:"success"`
}

type successCount struct {
	Success bool `json:"success"`
	Count   int  `json:"count"`
}

// etag is how a version looks in headers.
func etag(v dbkernel.Version) string { return `"` + string(v) + `"` }

// condition reads If-Match and If-None-Match of a write. ok is false without them.
func (c *call) condition() (cond dbkernel.Cond, ok bool, err error) {
	match, none := c.Header.Values("If-Match"), c.Header.Values("If-None-Match")
	switch {
	case len(match)+len(none) == 0:
		return cond, false, nil
	case len(match)+len(none) > 1:
		return cond, false, badRequest(CodeBadRequest, "more than one of If-Match and If-None-Match: send a single condition")
	case len(none) == 1:
		if strings.TrimSpace(none[0]) != "*" {
			return cond, false, badRequest(CodeBadRequest, "If-None-Match: a write takes only *, which means: it must not exist")
		}
		return dbkernel.Cond{IfAbsent: true}, true, nil
	}
	s := strings.TrimSpace(match[0])
	if s == "*" {
		return dbkernel.Cond{IfExists: true}, true, nil
	}
	version, ok := unquote(s)
	if !ok {
		return cond, false, badRequest(CodeBadRequest, `If-Match: %s is not a version in double quotes, as in "1-2a", nor *`, s)
	}
	return dbkernel.Cond{IfVersion: dbkernel.Version(version)}, true, nil
}

// unquote takes a strong entity tag apart.
func unquote(s string) (string, bool) {
	if len(s) < 3 || s[0] != '"' || s[len(s)-1] != '"' || strings.Contains(s[1:len(s)-1], `"`) {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// conditionFailed puts the kernel's answer in the client's words.
func conditionFailed(err error, cond dbkernel.Cond) error {
	if !errors.Is(err, dbkernel.ErrConditionFailed) {
		return err
	}
	why := "it doesn't exist"
	switch {
	case cond.IfAbsent:
		why = "it exists already"
	case cond.IfVersion != "":
		why = fmt.Sprintf("it doesn't have version %q", string(cond.IfVersion))
	}
	return &Error{Status: http.StatusPreconditionFailed, Code: CodeConditionFailed,
		Message: "nothing was written, for " + why + ": read it again and decide anew"}
}

// noTransaction refuses txn= where the contract has no transaction: the write would
// otherwise be committed at once, outside of it.
func (c *call) noTransaction(instead string) error {
	if _, ok := c.param("txn"); ok {
		return badRequest(CodeBadRequest, "txn= is for reads of a key or row: %s", instead)
	}
	return nil
}
