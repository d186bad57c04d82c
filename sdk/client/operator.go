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

	Lineage string `json:"lineage,omitempty"`
	// Term is raised each time that the namespace gets another owner.
	Term uint64 `json:"term,omitempty"`
	// Via is the hub that receives it, where a relayer owns it.
	Via string `json:"via,omitempty"`
	// State is that on its owner; empty: the owner hasn't told.
	State     string     `json:"state,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Quota     *Quota     `json:"quota,omitempty"`
	Replicate *Replicate `json:"replicate,omitempty"`
	// Deleted is when it was deleted, and RemoveAfter when nodes remove what they have
	// set aside of it; nil: it wasn't.
	Deleted     *time.Time `json:"deleted,omitempty"`
	RemoveAfter *time.Time `json:"remove_after,omitempty"`
}

// Quota bounds what is written to a namespace; 0: no bound.
type Quota struct {
	MaxBytes            int64 `json:"max_bytes,omitempty"`
	WriteBytesPerSecond int64 `json:"write_bytes_per_second,omitempty"`
}

// Replicate says who receives a namespace: nodes whose ids match patterns, in which * stands
// for any text and ? for a character, and relayers that have all labels of a selector.
type Replicate struct {
	Relayers []string          `json:"relayers,omitempty"`
	Selector map[string]string `json:"selector,omitempty"`
	Hubs     []string          `json:"hubs,omitempty"`
}

// NamespaceSettings are those of a namespace that rule all nodes. What is the zero value is
// left as it is, or at its default; lists and maps that are empty but not nil are emptied.
type NamespaceSettings struct {
	Acks string // local
	// Hubs are patterns of ids of hubs that receive it beside its owner.
	Hubs []string
	// Relayers are patterns of ids, and Selector labels, of relayers that receive it.
	Relayers []string
	Selector map[string]string
	// MaxBytes and WriteBytesPerSecond are its quota; a pointer to 0 lifts it.
	MaxBytes            *int64
	WriteBytesPerSecond *int64
}

// NewNamespace says how a namespace is made.
type NewNamespace struct {
	Owner string // id of a hub; empty: the node that is asked
	NamespaceSettings
}

// namespaceBody is how settings travel.
type namespaceBody struct {
	Name      string         `json:"name,omitempty"`
	Replace   bool           `json:"replace,omitempty"`
	Owner     string         `json:"owner,omitempty"`
	Acks      string         `json:"acks,omitempty"`
	Hubs      []string       `json:"hubs,omitzero"`
	Replicate *replicateBody `json:"replicate,omitempty"`
	Quota     *quotaBody     `json:"quota,omitempty"`
}

type replicateBody struct {
	Relayers []string          `json:"relayers,omitzero"`
	Selector map[string]string `json:"selector,omitzero"`
}

type quotaBody struct {
	MaxBytes            *int64 `json:"max_bytes,omitempty"`
	WriteBytesPerSecond *int64 `json:"write_bytes_per_second,omitempty"`
}

func (s NamespaceSettings) body() namespaceBody {
	b := namespaceBody{Acks: s.Acks, Hubs: s.Hubs}
	if s.Relayers != nil || s.Selector != nil {
		b.Replicate = &replicateBody{s.Relayers, s.Selector}
	}
	if s.MaxBytes != nil || s.WriteBytesPerSecond != nil {
		b.Quota = &quotaBody{s.MaxBytes, s.WriteBytesPerSecond}
	}
	return b
}

// Namespaces lists the namespaces of the group of hubs; a relayer lists its own.
func (c *Client) Namespaces(ctx context.Context, opts ...StateOption) ([]NamespaceInfo, error) {
	var list []NamespaceInfo
	err := c.callState(ctx, "v1/namespaces", &list, opts)
	return list, err
}

// NamespaceInfo asks for one of them. One that isn't there is [ErrNamespaceNotFound].
func (c *Client) NamespaceInfo(ctx context.Context, name string, opts ...StateOption) (NamespaceInfo, error) {
	var info NamespaceInfo
	err := c.callState(ctx, namespacePath(name, ""), &info, opts)
	return info, err
}

// CreateNamespace makes a namespace. Its owner has it durably when the call returns.
func (c *Client) CreateNamespace(ctx context.Context, name string, o NewNamespace) (NamespaceInfo, error) {
	body := o.body()
	body.Name, body.Owner = name, o.Owner
	return c.changeNamespace(ctx, http.MethodPost, "v1/namespaces", body)
}

// ReplaceNamespace makes a namespace anew and empty, as another lineage, that is
// missing or quarantined on the node that owns it. What is left of it is set aside; nodes
// that follow it have to accept the new lineage.
func (c *Client) ReplaceNamespace(ctx context.Context, name string) (NamespaceInfo, error) {
	return c.changeNamespace(ctx, http.MethodPost, "v1/namespaces", namespaceBody{Name: name, Replace: true})
}

// SetNamespace changes settings of a namespace while it is used.
func (c *Client) SetNamespace(ctx context.Context, name string, s NamespaceSettings) (NamespaceInfo, error) {
	return c.changeNamespace(ctx, http.MethodPut, namespacePath(name, ""), s.body())
}

// DeleteNamespace deletes a namespace on all nodes. They set aside what they have of it, and
// remove that when the grace is over. Its name is free again at once.
func (c *Client) DeleteNamespace(ctx context.Context, name string, grace time.Duration) (NamespaceInfo, error) {
	r := c.system(namespacePath(name, ""))
	r.method = http.MethodDelete
	r.query.Set("grace", grace.String())
	var info NamespaceInfo
	_, err := c.call(ctx, r, &info)
	return info, err
}

func (c *Client) changeNamespace(ctx context.Context, method, path string, body namespaceBody) (NamespaceInfo, error) {
	var info NamespaceInfo
	err := c.changeState(ctx, method, path, body, &info)
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
