package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// NamespaceInfo is a namespace as the hubs see it.
type NamespaceInfo struct {
	Name  string   `json:"name"`
	Owner string   `json:"owner"`
	Epoch uint64   `json:"epoch"`
	Hubs  []string `json:"hubs"`
	Acks  string   `json:"acks"`
	LSN   uint64   `json:"lsn"`
}

// Namespaces lists the namespaces that the node knows.
func (c *Client) Namespaces(ctx context.Context) ([]NamespaceInfo, error) {
	var list []NamespaceInfo
	_, err := c.call(ctx, c.system("v1/namespaces"), &list)
	return list, err
}

// NamespaceInfo asks for one of them. One that the node doesn't know is [ErrNamespaceNotFound].
func (c *Client) NamespaceInfo(ctx context.Context, name string) (NamespaceInfo, error) {
	var info NamespaceInfo
	_, err := c.call(ctx, c.system(namespacePath(name, "")), &info)
	return info, err
}

// CreateNamespace makes a namespace that the node owns. It is durable when the
// call returns.
func (c *Client) CreateNamespace(ctx context.Context, name string) (NamespaceInfo, error) {
	return c.createNamespace(ctx, name, false)
}

// ReplaceNamespace makes a namespace anew and empty, as another lineage, that is
// missing or quarantined on the node that owns it. What is left of it is set aside; nodes
// that follow it have to accept the new lineage.
func (c *Client) ReplaceNamespace(ctx context.Context, name string) (NamespaceInfo, error) {
	return c.createNamespace(ctx, name, true)
}

func (c *Client) createNamespace(ctx context.Context, name string, replace bool) (NamespaceInfo, error) {
	r, err := c.system("v1/namespaces").posting(struct {
		Name    string `json:"name"`
		Replace bool   `json:"replace,omitempty"`
	}{name, replace})
	if err != nil {
		return NamespaceInfo{}, err
	}
	var info NamespaceInfo
	_, err = c.call(ctx, r, &info)
	return info, err
}

// AcceptLineage lets a namespace that the node follows become one of another
// lineage, which status shows on the node that has it. What the node has is set aside
// when the new one is complete.
func (c *Client) AcceptLineage(ctx context.Context, name, lineage string) error {
	r, err := c.system(namespacePath(name, "/accept")).posting(struct {
		Lineage string `json:"lineage"`
	}{lineage})
	if err != nil {
		return err
	}
	_, err = c.call(ctx, r, nil)
	return err
}

// Mark is a record at which two nodes can be compared.
type Mark struct {
	Epoch uint64 `json:"epoch"`
	LSN   uint64 `json:"lsn"`
	// Digest is over all ranges, 16 hexadecimal digits.
	Digest string `json:"digest"`
}

// Marks are the marks that a node has digests of.
type Marks struct {
	Lineage   string    `json:"lineage"`
	Marks     []Mark    `json:"marks"` // newest first
	Integrity Integrity `json:"integrity"`
}

// Digests are what a node has at a mark.
type Digests struct {
	Lineage string `json:"lineage"`
	Mark
	// Ranges are the digests of the 1,024 parts that a hash of their keys divides
	// the cells into, each 16 hexadecimal digits.
	Ranges    []string  `json:"ranges"`
	Integrity Integrity `json:"integrity"`
}

// WriteMark ends the log of the client's namespace with a mark, on its owner.
func (c *Client) WriteMark(ctx context.Context) (Position, error) {
	r := c.system(namespacePath(c.namespace, "/mark"))
	r.method = http.MethodPost
	return c.write(ctx, r)
}

// Marks lists the marks of the client's namespace that the node has digests of.
func (c *Client) Marks(ctx context.Context) (Marks, error) {
	var m Marks
	_, err := c.call(ctx, c.system(namespacePath(c.namespace, "/digests")), &m)
	return m, err
}

// Digests asks for the node's digests at the mark with this LSN. It waits until
// the node has them, at most as long as wait, then fails with [ErrNotCaughtUp].
func (c *Client) Digests(ctx context.Context, mark uint64, wait time.Duration) (Digests, error) {
	r := c.system(namespacePath(c.namespace, "/digests"))
	r.query.Set("mark", strconv.FormatUint(mark, 10))
	r.query.Set("wait", wait.String())
	var d Digests
	_, err := c.call(ctx, r, &d)
	return d, err
}

// Scrub reads the files of the client's namespace on the node once, as fast as it
// goes, and answers what it found.
func (c *Client) Scrub(ctx context.Context) (Integrity, error) {
	r := c.system(namespacePath(c.namespace, "/scrub"))
	r.method = http.MethodPost
	var i Integrity
	_, err := c.call(ctx, r, &i)
	return i, err
}

func namespacePath(name, action string) string {
	return "v1/namespaces/" + escape([]byte(name)) + action
}

// posting makes the request a POST of v as JSON.
func (r *request) posting(v any) (*request, error) {
	r.method = http.MethodPost
	return r.withJSON(v)
}
