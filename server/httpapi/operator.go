package httpapi

import (
	"net"
	"net/http"

	"github.com/unisondb/unisondb/dbkernel"
)

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
	if c.fromLoopback() || c.incoming != nil { // the hub that has passed it on has looked
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
