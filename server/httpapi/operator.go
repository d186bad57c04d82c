package httpapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"github.com/unisondb/unisondb/dbkernel"
)

// namespaceInfo is a namespace as the group of hubs sees it.
type namespaceInfo struct {
	Name  string   `json:"name"`
	Owner string   `json:"owner"`
	Epoch uint64   `json:"epoch"`
	Hubs  []string `json:"hubs"`
	Acks  string   `json:"acks"`
	LSN   uint64   `json:"lsn"`
}

func outNamespace(s NamespaceStatus) namespaceInfo {
	return namespaceInfo{Name: s.Name, Owner: s.Owner, Epoch: s.Epoch, Hubs: []string{s.Owner}, Acks: "local", LSN: s.LSN}
}

func (c *call) listNamespaces() error {
	out := []namespaceInfo{}
	for _, s := range c.api.node.Status().Namespaces {
		out = append(out, outNamespace(s))
	}
	return c.json(out)
}

func (c *call) namespaceInfo() error {
	if !slices.Contains(c.api.node.Names(), c.namespace) {
		return namespaceNotFound(c.namespace)
	}
	return c.json(outNamespace(c.api.node.NamespaceStatus(c.namespace)))
}

// createNamespace makes a namespace, or makes it anew where its data is lost.
func (c *call) createNamespace() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	var in struct {
		Name    string `json:"name"`
		Replace bool   `json:"replace"`
	}
	if err := c.readJSON(maxSmallBody, &in); err != nil {
		return err
	}
	if !dbkernel.ValidName(in.Name) {
		return badRequest(CodeBadRequest, "name=%q can't name a namespace: use 1 to %d letters, digits, dots, dashes and underscores, a letter or digit first", in.Name, dbkernel.MaxNameLen)
	}
	c.namespace = in.Name
	if err := c.api.node.CreateNamespace(c.Context(), in.Name, in.Replace); err != nil {
		if errors.Is(err, dbkernel.ErrNamespaceExists) {
			return fmt.Errorf("%w: choose another name", err)
		}
		return err
	}
	return c.json(outNamespace(c.api.node.NamespaceStatus(in.Name)))
}

// acceptLineage lets a replica take another lineage than it has.
func (c *call) acceptLineage() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	var in struct {
		Lineage string `json:"lineage"`
	}
	if err := c.readJSON(maxSmallBody, &in); err != nil {
		return err
	}
	lineage, err := dbkernel.ParseLineage(in.Lineage)
	if err != nil || lineage.IsZero() {
		return badRequest(CodeBadRequest, "lineage=%q is no lineage: give the 32 hexadecimal digits that status shows on the node to follow", in.Lineage)
	}
	if !dbkernel.ValidName(c.namespace) {
		return namespaceNotFound(c.namespace)
	}
	if err := c.api.node.AcceptLineage(c.namespace, lineage); err != nil {
		return err
	}
	return c.json(success{true})
}

// requireLoopback refuses what changes the node to callers elsewhere: until
// access control exists, only somebody on this machine may.
func (c *call) requireLoopback() error {
	if c.fromLoopback() {
		return nil
	}
	return &Error{Status: http.StatusForbidden, Code: CodeForbidden, Message: "this route changes the node, so it answers on loopback only: call it on the machine itself"}
}

func (c *call) fromLoopback() bool {
	host, _, err := net.SplitHostPort(c.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
