package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// RaftPeer is a hub as a member of the group that runs the control plane.
type RaftPeer struct {
	ID      string `json:"id"`
	Address string `json:"address"` // of Raft
	// Role is leader, follower or nonvoter.
	Role string `json:"role"`
	// Healthy says that the leader hears of it.
	Healthy bool `json:"healthy"`
	// LastContact is how long ago the leader last heard of it, as "12ms"; empty: never,
	// or the answer is not the leader's.
	LastContact string `json:"last_contact"`
	Instance    string `json:"instance,omitempty"` // of its data directory
	Version     string `json:"version,omitempty"`
	// ReadsUpTo is the highest number of a command that its build can read.
	ReadsUpTo uint32 `json:"reads_up_to,omitempty"`
}

// RaftPeers lists the members of the group of hubs.
func (c *Client) RaftPeers(ctx context.Context, opts ...StateOption) ([]RaftPeer, error) {
	var list []RaftPeer
	err := c.callState(ctx, "v1/raft/peers", &list, opts)
	return list, err
}

// RemoveRaftPeer takes a hub out of the group, which goes on without it. Namespaces that it
// owns stay its own.
func (c *Client) RemoveRaftPeer(ctx context.Context, id string) error {
	return c.changeState(ctx, http.MethodPost, "v1/raft/remove-peer", struct {
		ID string `json:"id"`
	}{id}, nil)
}

// TransferLeader makes another hub the leader: the one with the id, or whichever has the
// newest state where id is empty.
func (c *Client) TransferLeader(ctx context.Context, id string) error {
	return c.changeState(ctx, http.MethodPost, "v1/raft/transfer-leader", struct {
		To string `json:"to,omitempty"`
	}{id}, nil)
}

// SaveSnapshot writes a snapshot of the control plane's state to w, and answers its
// length in bytes. It has hashes of credentials and the configuration of plugins in it. After an
// error w may have a part of it.
func (c *Client) SaveSnapshot(ctx context.Context, w io.Writer) (int64, error) {
	resp, _, err := c.send(ctx, c.system("v1/snapshot"))
	if err != nil {
		return 0, err
	}
	defer closeBody(resp)
	n, err := io.Copy(w, bodyErrors{resp.Body})
	return n, err
}

// RestoreSnapshot puts the state of a snapshot in the place of the group's, size bytes
// of r (-1: to its end). One of another group is refused unless force is set.
func (c *Client) RestoreSnapshot(ctx context.Context, r io.Reader, size int64, force bool) error {
	req := c.system("v1/snapshot").withStream(r, size)
	req.method = http.MethodPost
	if force {
		req.query.Set("force", strconv.FormatBool(force))
	}
	_, err := c.call(ctx, req, nil)
	return err
}

// bodyErrors is the body of an answer, whose errors say what they are of.
type bodyErrors struct{ r io.Reader }

func (b bodyErrors) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read the node's answer: %w", transportError(err))
	}
	return n, err
}
