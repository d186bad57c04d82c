package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/unisondb/unisondb/server/internal/control"
	"github.com/unisondb/unisondb/server/topology"
)

// relayerInfo is a relayer that has joined.
type relayerInfo struct {
	ID     string            `json:"id"`
	Labels map[string]string `json:"labels"`
	// Upstream is what it is set to follow, otherwise the hub that it attends.
	Upstream   string          `json:"upstream"`
	Connected  bool            `json:"connected"`
	Namespaces []nodeNamespace `json:"namespaces"`
	Hub        string          `json:"hub"`
	Instance   string          `json:"instance"`
	Version    string          `json:"version"`
	Region     string          `json:"region"`
	Advertise  string          `json:"advertise"`
	Draining   bool            `json:"draining"`
}

func outRelayer(o *control.Overview, r *topology.Relayer) relayerInfo {
	session, connected := o.Sessions[r.ID]
	out := relayerInfo{
		ID: r.ID, Labels: r.Labels, Upstream: cmp.Or(r.Upstream, session.Hub), Connected: connected,
		Namespaces: outReports(session.Namespaces, o.State.AssignedTo(r.ID)),
		Hub:        session.Hub, Instance: r.Instance, Version: session.GetVersion(), Region: r.Region, Advertise: r.Advertise, Draining: r.Draining,
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	return out
}

// outRelayers are the relayers, by id.
func outRelayers(o *control.Overview) []relayerInfo {
	out := make([]relayerInfo, 0, len(o.State.Relayers))
	for _, id := range slices.Sorted(maps.Keys(o.State.Relayers)) {
		out = append(out, outRelayer(o, o.State.Relayers[id]))
	}
	return out
}

func (c *call) listRelayers() error {
	return c.withGroup(func(ctx context.Context) error {
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		return c.json(outRelayers(o))
	})
}

func (c *call) relayerInfo() error {
	return c.withGroup(func(ctx context.Context) error {
		o, err := c.overview(ctx)
		if err != nil {
			return err
		}
		r, err := findRelayer(o.State, c.node)
		if err != nil {
			return err
		}
		return c.json(outRelayer(o, r))
	})
}

func findRelayer(s *topology.State, id string) (*topology.Relayer, error) {
	if r := s.Relayers[id]; r != nil {
		return r, nil
	}
	return nil, &Error{Status: http.StatusNotFound, Code: topology.CodeUnknownRelayer,
		Message: fmt.Sprintf("no relayer %q has joined: 'unisondb operator relayer list' shows those that have", id)}
}

// drainRelayer prepares a relayer's end, or takes that back.
func (c *call) drainRelayer() error {
	return c.changeGroup(func(ctx context.Context) error {
		var in struct {
			Undo bool `json:"undo"`
		}
		if c.hasBody() {
			if err := c.readJSON(maxSmallBody, &in); err != nil {
				return err
			}
		}
		if err := c.propose(ctx, topology.DrainRelayer{ID: c.node, Draining: !in.Undo}); err != nil {
			return err
		}
		o, err := c.afterChange(ctx)
		if err != nil {
			return err
		}
		r, err := findRelayer(o.State, c.node)
		if err != nil {
			return err
		}
		return c.json(outRelayer(o, r))
	})
}

// removeRelayer forgets a relayer. One that is there is removed by force only: it would
// notice by losing what it has.
func (c *call) removeRelayer() error {
	return c.changeGroup(func(ctx context.Context) error {
		force, err := c.flag("force")
		if err != nil {
			return err
		}
		if !force {
			if err := c.requireAway(ctx); err != nil {
				return err
			}
		}
		if err := c.propose(ctx, topology.RemoveRelayer{ID: c.node, Force: force}); err != nil {
			return err
		}
		return c.json(success{true})
	})
}

// requireAway refuses a relayer that attends a hub, or that may do so.
func (c *call) requireAway(ctx context.Context) error {
	o, err := c.api.viewer.Overview(ctx, control.Query{})
	if err != nil {
		return err
	}
	if _, err := findRelayer(o.State, c.node); err != nil {
		return err
	}
	why := ""
	if s, connected := o.Sessions[c.node]; connected {
		why = fmt.Sprintf("relayer %q is connected to hub %q", c.node, s.Hub)
	} else if silent := o.Silent(); len(silent) > 0 {
		why = fmt.Sprintf("relayer %q may be connected to %s, which can't be asked", c.node, strings.Join(silent, ", "))
	}
	if why == "" {
		return nil
	}
	return &Error{Status: http.StatusConflict, Code: CodeRelayerConnected, Message: why + ": stop it first, or force it (-force)"}
}

// tokenInfo is a join token. Token is its secret, which is answered once.
type tokenInfo struct {
	ID      string            `json:"id"`
	Token   string            `json:"token,omitempty"`
	Expires time.Time         `json:"expires"`
	Uses    int               `json:"uses"`
	Relayer string            `json:"relayer,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

func outToken(t *topology.Token) tokenInfo {
	return tokenInfo{ID: t.ID, Expires: t.Expires.UTC(), Uses: t.Uses, Relayer: t.Relayer, Labels: t.Labels}
}

// createToken makes a join token and answers its secret, which nobody can ask for later.
func (c *call) createToken() error {
	return c.changeGroup(func(ctx context.Context) error {
		var in struct {
			TTL     string            `json:"ttl"`
			Uses    int               `json:"uses"`
			Relayer string            `json:"relayer"`
			Labels  map[string]string `json:"labels"`
		}
		if err := c.readJSON(maxSmallBody, &in); err != nil {
			return err
		}
		o := control.TokenOptions{Uses: in.Uses, Relayer: in.Relayer, Labels: in.Labels}
		if in.TTL != "" {
			var err error
			if o.TTL, err = parseTTL("ttl", in.TTL); err != nil {
				return err
			}
		}
		now := c.api.clock()
		secret, token, err := control.NewToken(o, now)
		if err != nil {
			return badRequest(CodeBadRequest, "%v", err)
		}
		if err := c.propose(ctx, topology.CreateToken{Token: token, At: now}); err != nil {
			return err
		}
		out := outToken(&token)
		out.Token = secret
		return c.json(out)
	})
}

// listTokens lists those that can still be used.
func (c *call) listTokens() error {
	return c.withGroup(func(ctx context.Context) error {
		s, err := c.synced(ctx)
		if err != nil {
			return err
		}
		now, out := c.api.clock(), []tokenInfo{}
		for _, id := range slices.Sorted(maps.Keys(s.Tokens)) {
			if t := s.Tokens[id]; t.Uses > 0 && now.Before(t.Expires) {
				out = append(out, outToken(t))
			}
		}
		return c.json(out)
	})
}

func (c *call) revokeToken() error {
	return c.changeGroup(func(ctx context.Context) error {
		if err := c.propose(ctx, topology.RevokeToken{ID: c.token}); err != nil {
			return err
		}
		return c.json(success{true})
	})
}
