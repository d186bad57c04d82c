package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/unisondb/unisondb/dbkernel"
)

// What two nodes are compared by: the owner writes a mark, every node's B+tree
// keeps its digests, and whoever compares asks two nodes for those of the same mark.

// markOut is a mark. Digests are text: JSON's numbers are too short for them.
type markOut struct {
	Epoch  uint64 `json:"epoch"`
	LSN    uint64 `json:"lsn"`
	Digest string `json:"digest"`
}

func outMark(m dbkernel.Mark) markOut { return markOut{m.Epoch, m.LSN, outDigest(m.Digest)} }

func outDigest(d uint64) string { return fmt.Sprintf("%016x", d) }

// writeMark ends the owner's log with a mark.
func (c *call) writeMark() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	p, err := c.ns.WriteMark(c.Context())
	if err != nil {
		return err
	}
	return c.wrote(p, struct {
		Lineage dbkernel.Lineage `json:"lineage"`
		Epoch   uint64           `json:"epoch"`
		LSN     uint64           `json:"lsn"`
	}{p.Lineage, p.Epoch, p.LSN})
}

// digests answers the digests of a mark, or else the marks that have some.
func (c *call) digests() error {
	s, ok := c.param("mark")
	if !ok {
		return c.listMarks()
	}
	lsn, err := strconv.ParseUint(s, 10, 64)
	if err != nil || lsn == 0 {
		return badRequest(CodeBadRequest, "mark=%q is not the LSN of a mark: GET this route without it for those that there are", s)
	}
	return c.onLog(func() error { return c.digestsOf(lsn) })
}

func (c *call) listMarks() error {
	var out struct {
		Lineage   dbkernel.Lineage `json:"lineage"`
		Marks     []markOut        `json:"marks"`
		Integrity *Integrity       `json:"integrity"`
	}
	err := c.onLog(func() error {
		out.Lineage, out.Marks = c.ns.Status().Lineage, []markOut{}
		for _, m := range c.ns.Marks() {
			out.Marks = append(out.Marks, outMark(m))
		}
		out.Integrity = IntegrityOf(c.ns.Integrity())
		return nil
	})
	if err != nil {
		return err
	}
	return c.json(out)
}

func (c *call) digestsOf(lsn uint64) error {
	if err := c.waitForMark(lsn); err != nil {
		return err
	}
	marks := c.ns.Marks()
	i := slices.IndexFunc(marks, func(m dbkernel.Mark) bool { return m.LSN == lsn })
	if i < 0 {
		return markError(lsn, dbkernel.ErrNotFound)
	}
	digests, err := c.ns.Digests(lsn)
	if err != nil {
		return markError(lsn, err)
	}
	out := struct {
		Lineage dbkernel.Lineage `json:"lineage"`
		markOut
		Ranges    []string   `json:"ranges"`
		Integrity *Integrity `json:"integrity"`
	}{c.ns.Status().Lineage, outMark(marks[i]), make([]string, len(digests)), IntegrityOf(c.ns.Integrity())}
	for i, d := range digests {
		out.Ranges[i] = outDigest(d)
	}
	return c.json(out)
}

// waitForMark waits until the B+tree has the digests of a mark.
func (c *call) waitForMark(lsn uint64) error {
	ctx, cancel := context.WithDeadline(c.Context(), c.began.Add(c.wait))
	defer cancel()
	defer context.AfterFunc(c.api.draining, cancel)()
	err := c.ns.WaitMark(ctx, lsn)
	switch {
	case err == nil:
		return nil
	case c.api.isDraining():
		return c.shuttingDown()
	case ctx.Err() != nil && c.Context().Err() == nil:
		return &Error{Status: http.StatusGatewayTimeout, Code: CodeNotCaughtUp, Message: fmt.Sprintf(
			"this node's B+tree hasn't reached the mark at LSN %d within %v: wait longer, or see in its status why it is behind", lsn, c.wait)}
	}
	return markError(lsn, err)
}

func markError(lsn uint64, err error) error {
	if !errors.Is(err, dbkernel.ErrNotFound) {
		return err
	}
	return &Error{Status: http.StatusNotFound, Code: CodeMarkNotFound, Message: fmt.Sprintf(
		"this node has no digests of a mark at LSN %d: it keeps those of the newest marks, which this route lists without mark=", lsn)}
}

// scrubNow reads the namespace's files once, and answers what it found.
func (c *call) scrubNow() error {
	if err := c.requireLoopback(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	defer context.AfterFunc(c.api.draining, cancel)()
	err := c.onLog(func() error { return c.ns.Scrub(ctx, 0) })
	if err != nil && c.api.isDraining() {
		return c.shuttingDown()
	}
	if err != nil {
		return err
	}
	return c.json(IntegrityOf(c.ns.Integrity()))
}
