package command

import (
	"cmp"
	"context"
	"flag"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs"
)

type tlsCertCreateCommand struct {
	*Meta
	hub, relayer, client bool
	name                 string
	dns, ip              string
	caCert, caKey        string
	out                  string
	days                 int
}

func (c *tlsCertCreateCommand) spec() spec {
	return spec{
		synopsis: "Make a certificate for a node or a client",
		about: "Makes NAME.crt and NAME.key, signed by a CA of 'unisondb tls ca create'. The certificate names its holder: a node's -name is its node_id, and " +
			"another node_id is refused with it. Nodes are dialled by -dns and -ip, by their name, and on their own machine by localhost. " +
			"Files that exist aren't overwritten. No node is asked.",
		examples: []string{
			"unisondb tls cert create -hub -name=hub-a -dns=hub-a.example.com",
			"unisondb tls cert create -relayer -name=edge-1 -ip=10.0.0.7 -out=pki",
			"unisondb tls cert create -client -name=reports -days=30 -json",
		},
	}
}

func (c *tlsCertCreateCommand) flags(fs *flag.FlagSet) {
	c.jsonFlag(fs)
	fs.BoolVar(&c.hub, "hub", false, "For a hub.")
	fs.BoolVar(&c.relayer, "relayer", false, "For a relayer.")
	fs.BoolVar(&c.client, "client", false, "For a program or a person that uses the API.")
	fs.StringVar(&c.name, "name", "", "The `name` of the holder: a node's node_id. Required.")
	fs.StringVar(&c.dns, "dns", "", "More host `names` that the node is dialled by, with commas between them.")
	fs.StringVar(&c.ip, "ip", "", "More IP `addresses` that the node is dialled by, with commas between them.")
	fs.StringVar(&c.caCert, "ca-cert", "", "The CA's certificate `file`. Default: ca.crt in -out.")
	fs.StringVar(&c.caKey, "ca-key", "", "The CA's key `file`. Default: ca.key beside the certificate.")
	fs.StringVar(&c.out, "out", ".", "The `directory` for the files. Default: the current one.")
	fs.IntVar(&c.days, "days", 365, "How many `days` it is valid, at most as long as the CA. Default: 365.")
}

func (c *tlsCertCreateCommand) run(context.Context, []string) error {
	now := time.Now()
	request, err := c.request(now)
	if err != nil {
		return err
	}
	caCert := cmp.Or(c.caCert, filepath.Join(c.out, caCertName))
	caKey := cmp.Or(c.caKey, filepath.Join(filepath.Dir(caCert), caKeyName))
	ca, err := certs.LoadAuthority(caCert, caKey, now)
	if err != nil {
		return localf("read the CA: %w; 'unisondb tls ca create' makes one", err)
	}
	pair, err := ca.Issue(request, now)
	if err != nil {
		return localf("make the certificate: %w", err)
	}
	if pair.Certificate.NotAfter.Before(request.NotAfter.Truncate(time.Second)) {
		c.message("The certificate ends with its CA, before %d days are over.", c.days)
	}
	certFile, keyFile := filepath.Join(c.out, c.name+".crt"), filepath.Join(c.out, c.name+".key")
	if err := pair.Write(certFile, keyFile); err != nil {
		return localf("write the certificate: %w", err)
	}
	return c.made(pair, certFile, keyFile)
}

// request is what the flags ask for.
func (c *tlsCertCreateCommand) request(now time.Time) (r certs.Request, err error) {
	if r.Identity.Kind, err = c.kind(); err != nil {
		return r, err
	}
	if r.Identity.Name = c.name; c.name == "" {
		return r, usagef("-name is missing: give the node's node_id, or the client's name")
	}
	if err := r.Identity.Check(); err != nil {
		return r, usagef("-name: %v", err)
	}
	if r.NotAfter, err = expiry(now, c.days); err != nil {
		return r, err
	}
	if c.client {
		if c.dns != "" || c.ip != "" {
			return r, usagef("-dns and -ip are for nodes: nobody dials a client")
		}
		return r, nil
	}
	r.DNSNames, r.IPs = certs.LoopbackNames()
	r.DNSNames = append(append(r.DNSNames, c.name), listed(c.dns)...)
	for _, s := range r.DNSNames {
		if strings.ContainsAny(s, ":/ ") {
			return r, usagef("-dns=%s is no host name: leave port and scheme out, and put IP addresses into -ip", s)
		}
	}
	for _, s := range listed(c.ip) {
		ip := net.ParseIP(s)
		if ip == nil {
			return r, usagef("-ip=%s is no IP address: a host name goes into -dns", s)
		}
		r.IPs = append(r.IPs, ip)
	}
	r.DNSNames = unique(r.DNSNames)
	return r, nil
}

func (c *tlsCertCreateCommand) kind() (kind acl.Kind, err error) {
	for k, set := range map[acl.Kind]bool{acl.Hub: c.hub, acl.Relayer: c.relayer, acl.Client: c.client} {
		if set && kind != "" {
			return "", usagef("-hub, -relayer and -client exclude each other: give one")
		}
		if set {
			kind = k
		}
	}
	if kind == "" {
		return "", usagef("say whom it is for: -hub, -relayer or -client")
	}
	return kind, nil
}

// listed splits at commas.
func listed(s string) []string {
	var parts []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// unique leaves out what stands in a list before.
func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
