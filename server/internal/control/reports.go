package control

import (
	"cmp"
	"crypto/x509"
	"slices"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/acl"
)

func sortReports(reports []*dbv1.NamespaceReport) {
	slices.SortFunc(reports, func(a, b *dbv1.NamespaceReport) int { return cmp.Compare(a.GetName(), b.GetName()) })
}

// bounded shortens what a report says, so that a relayer can't make a hub keep much.
func bounded(r *dbv1.NamespaceReport) *dbv1.NamespaceReport {
	r.Role, r.State, r.Code = clip(r.GetRole(), maxCodeLen), clip(r.GetState(), maxCodeLen), clip(r.GetCode(), maxCodeLen)
	r.Lineage, r.Upstream = clip(r.GetLineage(), maxCodeLen), clip(r.GetUpstream(), 4*maxCodeLen)
	r.Reason = clip(r.GetReason(), maxReasonLen)
	r.ProtoReflect().SetUnknown(nil)
	return r
}

// identityOf is who asks: whom the certificate names, or what is claimed without one.
func identityOf(cert *x509.Certificate, hello *dbv1.RelayerHello) string {
	if cert == nil {
		return "claims to be " + acl.Identity{Kind: acl.Relayer, Name: clip(hello.GetNodeId(), maxCodeLen)}.String()
	}
	return acl.Describe(cert)
}
