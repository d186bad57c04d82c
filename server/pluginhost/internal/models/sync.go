package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/dbkernel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

const (
	// messageLen is about how many bytes of keys and values a message has. An item
	// isn't divided, so one may have as many as a value may.
	messageLen = 1 << 20
	// itemOverhead is about what an item takes beside its key and value, in bytes.
	itemOverhead = 48
	// runLen is how much of the log is read at once, in bytes.
	runLen = 1 << 20
)

// errInterrupted: what had been sent doesn't fit what follows.
var errInterrupted = errors.New("the namespace's history changed while it was told: sync from nowhere")

// Sync implements pluginv1.ViewServer. It tells what the log says behind the position
// that the model has. Where the log doesn't say it, or the position isn't in this
// history, the cells come in pages, each from a view of its own, and then what the log
// says since the first of them. Nothing that is old is kept for a program that is slow
// but the log, within its caps.
func (v *View) Sync(r *pluginv1.SyncRequest, stream grpc.ServerStreamingServer[pluginv1.SyncResponse]) error {
	ctx := stream.Context()
	return statusOf(ctx, v.sync(ctx, r, stream))
}

func (v *View) sync(ctx context.Context, r *pluginv1.SyncRequest, stream grpc.ServerStreamingServer[pluginv1.SyncResponse]) error {
	if err := v.syncs.Acquire(ctx, 1); err != nil {
		return err
	}
	defer v.syncs.Release(1)
	from, err := fromProto(r.GetFrom())
	if err != nil {
		return fmt.Errorf("%w: %w", dbkernel.ErrInvalid, err)
	}
	for {
		n, err := v.namespace(r.GetNamespace())
		if err != nil {
			return err
		}
		s := syncing{n: n, model: v.model, pageItems: v.pageItems, out: sender{stream: stream, messageLen: v.messageLen}}
		err = s.run(ctx, from)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, dbkernel.ErrSuperseded) && !errors.Is(err, dbkernel.ErrTrimmed):
			return err
		case s.out.sent:
			return fmt.Errorf("%w: %w", errInterrupted, err)
		case errors.Is(err, dbkernel.ErrTrimmed):
			from = dbkernel.Position{}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// syncing is one Sync from one handle of a namespace.
type syncing struct {
	n     *dbkernel.Namespace
	model string
	out   sender

	pageItems int
	pages     []page // that were told; none where the log alone is
}

// page is the cells behind the page before and up to last, told as of an LSN.
type page struct {
	last []byte // nil: all that are left
	lsn  uint64
}

// run brings the model from a position to one that includes what anybody has seen
// before the call.
func (s *syncing) run(ctx context.Context, from dbkernel.Position) error {
	now, err := s.n.Committed(ctx)
	if err != nil {
		return err
	}
	if s.n.Holds(from) {
		err = s.since(ctx, from.LSN, now.LSN)
	} else {
		now, err = s.anew(ctx, now.LSN)
	}
	if err != nil {
		return err
	}
	return s.out.end(now)
}

// since tells what the log says behind an LSN, up to another.
func (s *syncing) since(ctx context.Context, after, upTo uint64) error {
	last, known := s.n.LastModelWrite(s.model, after)
	if known && last == 0 {
		return nil
	}
	tail, err := s.tail(after)
	if err != nil {
		return err
	}
	defer tail.Close()
	return s.follow(ctx, tail, after, upTo)
}

// anew tells all cells, page by page, and then what the log says behind an LSN that is
// not above that of any page. It answers where the last page was. The log's reader
// comes first: it keeps what is written while the pages are on their way.
func (s *syncing) anew(ctx context.Context, after uint64) (dbkernel.Position, error) {
	tail, err := s.tail(after)
	if err != nil {
		return dbkernel.Position{}, err
	}
	defer tail.Close()
	s.out.reset = true
	for scan := (dbkernel.Scan{Limit: s.pageItems}); ; {
		p, at, err := s.readPage(scan)
		if err != nil {
			return at, err
		}
		for _, item := range p.Items {
			if err := s.out.add(itemOf(item.Key, item.Value)); err != nil {
				return at, err
			}
		}
		if !p.More {
			s.pages = append(s.pages, page{lsn: at.LSN})
			return at, s.follow(ctx, tail, after, at.LSN)
		}
		s.pages = append(s.pages, page{last: p.Last, lsn: at.LSN})
		scan.After = p.Last
	}
}

// readPage reads a page of cells from a view that lasts no longer.
func (s *syncing) readPage(scan dbkernel.Scan) (dbkernel.Page[dbkernel.KVItem], dbkernel.Position, error) {
	view, err := s.n.CommittedView()
	if err != nil {
		return dbkernel.Page[dbkernel.KVItem]{}, dbkernel.Position{}, err
	}
	defer view.Close()
	p, err := view.ScanModel(s.model, scan)
	return p, view.Position(), err
}

func (s *syncing) tail(after uint64) (*dbkernel.Tail, error) {
	return s.n.Tail("model "+s.model, after+1)
}

// follow tells what the log says from the reader's place, which is behind an LSN, up to
// another.
func (s *syncing) follow(ctx context.Context, tail *dbkernel.Tail, at, upTo uint64) error {
	for at < upTo {
		if last, known := s.n.LastModelWrite(s.model, at); known && last == 0 {
			return nil
		}
		run, err := tail.Next(ctx, runLen)
		if err != nil {
			return err
		}
		err = run.Changes(func(c dbkernel.Change) error {
			if c.Type != s.model || c.LSN > upTo || s.told(c) {
				return nil
			}
			item := &pluginv1.Item{Key: c.Key}
			if c.Operation == dbkernel.ChangePut {
				item.Value, item.Version = c.Value, string(c.Version())
			}
			return s.out.add(item)
		})
		if err != nil {
			return err
		}
		at = run.Last
		tail.Ack(at)
	}
	return nil
}

// told reports whether a page has told what came of a change.
func (s *syncing) told(c dbkernel.Change) bool {
	i, _ := slices.BinarySearchFunc(s.pages, c.Key, func(p page, key []byte) int {
		if p.last == nil {
			return 1
		}
		return bytes.Compare(p.last, key)
	})
	return i < len(s.pages) && c.LSN <= s.pages[i].lsn
}

// sender sends items, some at once.
type sender struct {
	stream grpc.ServerStreamingServer[pluginv1.SyncResponse]
	reset  bool // the next message has to say it
	sent   bool
	items  []*pluginv1.Item
	bytes  int

	messageLen int
}

func (s *sender) add(item *pluginv1.Item) error {
	size := len(item.GetKey()) + len(item.GetValue()) + itemOverhead
	if len(s.items) > 0 && s.bytes+size > s.messageLen {
		if err := s.send(nil); err != nil {
			return err
		}
	}
	s.items = append(s.items, item)
	s.bytes += size
	return nil
}

// end sends what is left, and the position.
func (s *sender) end(p dbkernel.Position) error { return s.send(toProto(p)) }

func (s *sender) send(p *pluginv1.Position) error {
	m := &pluginv1.SyncResponse{Reset_: s.reset, Items: s.items, Position: p}
	s.reset, s.sent, s.items, s.bytes = false, true, nil, 0
	return s.stream.Send(m)
}
