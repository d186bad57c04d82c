package dbkernel

import (
	"context"
	"errors"
	"slices"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// expireBatch is how many cells one record lets expire at most.
const expireBatch = 1000

// due is an entry of the expiry index.
type due struct {
	at  int64
	key []byte
}

// expireDue removes what has fallen due, by operations that name the versions
// they remove. Only the owner does so; replicas follow its log.
func (n *Namespace) expireDue(ctx context.Context, now int64) {
	at := n.nextDue.Load()
	if at == 0 || at > now || n.opts.Load().Replica || n.frozen.Load() != nil {
		return
	}
	if err := n.acquire(); err != nil {
		return // reported where it was opened
	}
	defer n.release()
	// Between two groups all that is noted can be read. So what a view from here on
	// doesn't show is noted again.
	if err := n.inCommitter(ctx, func() { n.nextDue.Store(0) }); err != nil {
		return // the database is closing
	}
	next, err := n.expireAll(ctx, now)
	if err != nil {
		next = at
		if !errors.Is(err, context.Canceled) {
			n.logger.Warn("removing expired keys failed; it is tried again", "error", err)
		}
	}
	n.noteDue(next)
}

// expireAll removes all that is due, a batch at a time, and answers when more
// will be, 0 for never.
func (n *Namespace) expireAll(ctx context.Context, now int64) (next int64, err error) {
	for from := codec.ExpiryPrefix(); from != nil; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if from, next, err = n.expireSome(ctx, from, now); err != nil {
			return 0, err
		}
	}
	return next, nil
}

// expireSome handles index entries from one on. It answers the entry to go on
// from, nil where no more is due, and when the next will be. Many cells may
// expire at the same moment: the place in the index is more than the time.
func (n *Namespace) expireSome(ctx context.Context, from []byte, now int64) (goOn []byte, next int64, err error) {
	v, err := n.View()
	if err != nil {
		return nil, 0, err
	}
	defer v.Close()
	entries, err := v.dueFrom(from, expireBatch+1)
	if err != nil {
		return nil, 0, err
	}
	var b codec.Builder
	g := &guard{asOf: v.lsn}
	for i, e := range entries {
		if e.at > now {
			next = e.at
			break
		}
		if i == expireBatch {
			goOn = codec.ExpiryKey(e.at, e.key)
			break
		}
		if err := v.expireCell(&b, g, e); err != nil {
			return nil, 0, err
		}
	}
	v.Close()
	if b.Ops() == 0 {
		return goOn, next, nil
	}
	_, err = n.commitBatch(ctx, &b, g, true)
	var stale *staleError
	if errors.As(err, &stale) {
		return from, 0, n.advanced.wait(ctx, func() bool { return n.readLSN() >= stale.retryAt || n.frozen.Load() != nil })
	}
	if err != nil {
		return nil, 0, err
	}
	n.counters.expired.Add(uint64(len(g.keys)))
	return goOn, next, nil
}

// noteDue notes that something expires then, unless something does earlier.
func (n *Namespace) noteDue(at int64) {
	for {
		old := n.nextDue.Load()
		if at == 0 || old != 0 && old <= at || n.nextDue.CompareAndSwap(old, at) {
			return
		}
	}
}

// expireCell adds the removal of a cell, if its index entry is still true. An
// object's chunks go with its manifest.
func (v *View) expireCell(b *codec.Builder, g *guard, e due) error {
	c, found, err := v.resolveAll(e.key, func() ([]byte, bool, error) { return v.snap.Get(e.key) })
	if err != nil || !found || c.Expiry != e.at {
		return err
	}
	b.Expire(e.key, c.Version)
	g.keys = append(g.keys, e.key)
	if e.key[0] == codec.TypeManifest {
		_, m, err := objectOf(e.key[1:], c)
		if err != nil {
			return err
		}
		b.Drop(m.Object)
	}
	return nil
}

// dueFrom lists entries of the expiry index from one on, earliest first, from
// the memtables and the tree. An entry may be out of date; the cell decides.
func (v *View) dueFrom(low []byte, limit int) ([]due, error) {
	r := keyRange{low, codec.PrefixEnd(codec.ExpiryPrefix())}
	var all []due
	add := func(key []byte) error {
		at, cell, err := codec.SplitExpiryKey(slices.Clone(key))
		all = append(all, due{at, cell})
		return err
	}
	for _, m := range v.mems {
		it, n := m.Iterate(v.lsn), 0
		for ok := it.Seek(low); ok && n < limit && r.holds(it.Key()); ok, n = it.Next(), n+1 {
			if err := add(it.Key()); err != nil {
				return nil, err
			}
		}
	}
	c, err := v.snap.Cursor()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	n := 0
	for ok := c.Seek(low); ok && n < limit && r.holds(c.Key()); ok, n = c.Next(), n+1 {
		if err := add(c.Key()); err != nil {
			return nil, err
		}
	}
	if c.Err() != nil {
		return nil, c.Err()
	}
	slices.SortFunc(all, func(a, b due) int {
		if a.at != b.at {
			return int(min(max(a.at-b.at, -1), 1))
		}
		return slices.Compare(a.key, b.key)
	})
	all = slices.CompactFunc(all, func(a, b due) bool { return a.at == b.at && slices.Equal(a.key, b.key) })
	return all[:min(limit, len(all))], nil
}

// findNextDue notes the earliest expiry after recovery.
func (n *Namespace) findNextDue() error {
	v, err := n.view()
	if err != nil {
		return err
	}
	defer v.snap.Release()
	entries, err := v.dueFrom(codec.ExpiryPrefix(), 1)
	if err == nil && len(entries) > 0 {
		n.noteDue(entries[0].at)
	}
	return err
}
