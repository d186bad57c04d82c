package config

import (
	"fmt"
	"maps"

	"github.com/hashicorp/hcl/v2"
)

// Unbuilt is something that the configuration asks for and this version of
// UnisonDB can't do.
type Unbuilt struct {
	Where string // file:line, empty where it isn't known
	What  string
}

// Error says what isn't built, where it stands and what to do.
func (u *Unbuilt) Error() string {
	prefix := ""
	if u.Where != "" {
		prefix = u.Where + ": "
	}
	return prefix + u.What + " isn't built yet in this version of UnisonDB; remove it to start the node"
}

// NotBuilt lists what the configuration asks for and this version doesn't do,
// whatever its role. Such files are valid: they say what a later version will do.
func (c *Config) NotBuilt() []error {
	u := &unbuilt{where: c.where}
	u.doors(c)
	u.storage("storage", "storage", c.Storage)
	u.namespaces(c)
	if c.ACL {
		u.add("acl", "acl with enabled = true")
	}
	if c.Telemetry.OTLPEndpoint != "" {
		u.add("otlp", "telemetry with otlp_endpoint")
	}
	return u.errs
}

type unbuilt struct {
	where map[string]string
	errs  []error
}

func (u *unbuilt) add(key, what string) {
	u.errs = append(u.errs, &Unbuilt{Where: u.where[key], What: what})
}

func (u *unbuilt) doors(c *Config) {
	if c.Redis != nil {
		u.add("listener.redis", `listener "redis"`)
	}
}

func (u *unbuilt) storage(key, title string, s Storage) {
	if s.History > 0 {
		u.add(key+".history", "history in "+title)
	}
}

func (u *unbuilt) namespaces(c *Config) {
	for _, n := range c.Namespaces {
		key, title := "namespace."+n.Name, fmt.Sprintf("namespace %q", n.Name)
		if n.Acks != acksLocal && n.Acks != "" {
			u.add(key+".acks", fmt.Sprintf("acks = %q in %s", n.Acks, title))
		}
		if n.Storage.History != c.Storage.History {
			u.storage(key, "storage of "+title, n.Storage)
		}
	}
}

// places notes where that stands which NotBuilt and Fixed may speak of.
func (r *resolver) places(c *Config) {
	at := maps.Clone(r.at)
	at["storage.history"], at["acl"], at["otlp"] = r.w.storage.history.at, r.w.aclAt, r.w.otlp.at
	for _, l := range r.w.listeners {
		at["listener."+l.kind], at[fmt.Sprintf("listener %q", l.kind)] = l.at, l.at
	}
	if r.w.raft != nil {
		at["raft"] = r.w.raft.at
	}
	for _, n := range r.w.namespaces {
		maps.Copy(at, n.places())
	}
	if r.w.relayer != nil {
		maps.Copy(at, r.w.relayer.places())
	}
	for key, p := range at {
		if p.Filename != "" {
			c.where[key] = place(p)
		}
	}
}

func (n *writtenNamespace) places() map[string]hcl.Range {
	key := "namespace." + n.name
	return map[string]hcl.Range{
		fmt.Sprintf("namespace %q", n.name): n.at, key + ".acks": n.acks.at, key + ".history": n.storage.history.at,
	}
}

func (r *writtenRelayer) places() map[string]hcl.Range {
	at := map[string]hcl.Range{}
	for _, o := range r.own {
		at[fmt.Sprintf("own %q", o.v)] = o.at
	}
	for _, u := range r.upstreams {
		at[fmt.Sprintf("upstream %q", u.name)] = u.at
	}
	return at
}
