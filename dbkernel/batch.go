package dbkernel

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/unisondb/unisondb/dbkernel/internal/codec"
)

// Batch is a set of blind writes that become visible together. The zero value
// is ready. A method that fails adds nothing.
type Batch struct {
	b    codec.Builder
	size int                 // keys and values
	puts bool                // it has something that a quota counts
	rows map[string]struct{} // that it puts columns of
}

func checkKey(key []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("%w key: it is empty, use 1 to %d bytes", ErrInvalid, MaxKeyLen)
	}
	if len(key) > MaxKeyLen {
		return fmt.Errorf("%w key: it has %d bytes, at most %d", ErrInvalid, len(key), MaxKeyLen)
	}
	return nil
}

func checkColumn(row []byte, column string) error {
	if err := checkKey(row); err != nil {
		return err
	}
	if column == "" || len(row)+len(column) > MaxKeyLen {
		return fmt.Errorf("%w column name: row key and column name have %d and %d bytes, use at least 1 each and at most %d together", ErrInvalid, len(row), len(column), MaxKeyLen)
	}
	if !utf8.ValidString(column) {
		return fmt.Errorf("%w column name: %q is no UTF-8", ErrInvalid, column)
	}
	return nil
}

func checkValue(value []byte) error {
	if len(value) > MaxValueLen {
		return fmt.Errorf("%w: the value has %d bytes, at most %d: store it as a large object", ErrTooLarge, len(value), MaxValueLen)
	}
	return nil
}

// maxTTL keeps expiries within what 64 bits of nanoseconds since 1970 can say.
const maxTTL = 100 * 365 * 24 * time.Hour

func checkTTL(ttl time.Duration) error {
	if ttl < 0 || ttl > maxTTL {
		return fmt.Errorf("%w ttl: %s, use at most %s, or none for ever", ErrInvalid, ttl, maxTTL)
	}
	return nil
}

func checkBatch(size int) error {
	if size > MaxBatchLen {
		return fmt.Errorf("%w: the batch has over %d bytes of keys and values: split it", ErrTooLarge, MaxBatchLen)
	}
	return nil
}

// reserve checks one write of a batch and counts it.
func (b *Batch) reserve(key, value []byte, ttl time.Duration) error {
	if err := checkValue(value); err != nil {
		return err
	}
	if err := checkTTL(ttl); err != nil {
		return err
	}
	if err := checkBatch(b.size + len(key) + len(value)); err != nil {
		return err
	}
	b.size += len(key) + len(value)
	return nil
}

// Put sets a key, which expires after ttl unless that is 0.
func (b *Batch) Put(key, value []byte, ttl time.Duration) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := b.reserve(key, value, ttl); err != nil {
		return err
	}
	b.b.Grow(len(key) + len(value) + 24)
	b.b.PutKV(key, value, codec.Expiry{TTL: int64(ttl)})
	b.puts = true
	return nil
}

// Delete removes a key; an absent one is no error.
func (b *Batch) Delete(key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := b.reserve(key, nil, 0); err != nil {
		return err
	}
	b.b.Delete(codec.KVKey(key))
	return nil
}

// PutRow sets columns of a row and leaves its others as they are.
func (b *Batch) PutRow(row []byte, columns map[string][]byte, ttl time.Duration) error {
	if len(columns) == 0 {
		return fmt.Errorf("%w: a row needs at least one column", ErrInvalid)
	}
	size := b.size
	for column, value := range columns {
		if err := checkColumn(row, column); err != nil {
			return err
		}
		if err := checkValue(value); err != nil {
			return err
		}
		size += len(row) + len(column) + len(value)
	}
	if err := checkTTL(ttl); err != nil {
		return err
	}
	if err := checkBatch(size); err != nil {
		return err
	}
	b.size = size
	for column, value := range columns {
		b.b.Put(codec.ColumnKey(row, column), value, codec.Expiry{TTL: int64(ttl)})
	}
	b.puts = true
	if b.rows == nil {
		b.rows = map[string]struct{}{}
	}
	b.rows[string(row)] = struct{}{}
	return nil
}

// DeleteRow removes a row; an absent one is no error. A row that the batch put
// columns of is refused: within a record a row's puts outlive its delete.
func (b *Batch) DeleteRow(row []byte) error {
	if err := checkKey(row); err != nil {
		return err
	}
	if _, ok := b.rows[string(row)]; ok {
		return fmt.Errorf("%w: the batch puts columns of row %q and deletes it: leave one out", ErrInvalid, row)
	}
	if err := b.reserve(row, nil, 0); err != nil {
		return err
	}
	b.b.DeleteRow(codec.RowPrefix(row))
	return nil
}

// DeleteColumns removes columns of a row; absent ones are no error.
func (b *Batch) DeleteColumns(row []byte, columns []string) error {
	if len(columns) == 0 {
		return fmt.Errorf("%w: name at least one column", ErrInvalid)
	}
	for _, column := range columns {
		if err := checkColumn(row, column); err != nil {
			return err
		}
	}
	for _, column := range columns {
		if err := b.reserve(row, nil, 0); err != nil {
			return err
		}
		b.b.Delete(codec.ColumnKey(row, column))
	}
	return nil
}

// Write commits the batch: without an error it is durable as the configuration
// says and visible. An empty batch is ErrInvalid. The batch must not be used again.
func (n *Namespace) Write(ctx context.Context, b *Batch) (Position, error) {
	if b.b.Ops() == 0 {
		return Position{}, fmt.Errorf("%w: the batch is empty", ErrInvalid)
	}
	if err := n.acquire(); err != nil {
		return Position{}, err
	}
	defer n.release()
	return n.commitBatch(ctx, &b.b, nil, !b.puts)
}

// commitBatch has a batch committed. free says that no quota holds it back.
func (n *Namespace) commitBatch(ctx context.Context, b *codec.Builder, g *guard, free bool) (Position, error) {
	pos, err := n.offerBatch(ctx, b, g, free)
	if quotaMayBeStale(err) && n.applied.Load() != n.mems.Load().base {
		// The estimate counts overwritten and deleted values that a flush would settle.
		if err := n.flushAll(ctx); err != nil {
			return Position{}, err
		}
		return n.offerBatch(ctx, b, g, free)
	}
	return pos, err
}

// offerBatch hands a batch to the committer once.
func (n *Namespace) offerBatch(ctx context.Context, b *codec.Builder, g *guard, free bool) (Position, error) {
	r := n.db.requests.get()
	r.batch, r.guard, r.free, r.bytes = b, g, free, b.Len()
	err := n.submit(ctx, r)
	pos, retryAt := r.position, r.retryAt
	n.db.requests.put(r)
	if err == errStale { //nolint:errorlint // never wrapped: it doesn't leave the package
		return Position{}, &staleError{retryAt: retryAt}
	}
	if err != nil {
		return Position{}, err
	}
	pos.Lineage = n.lineage
	return pos, nil
}

// staleError is errStale with what to wait for.
type staleError struct{ retryAt uint64 }

func (*staleError) Error() string { return errStale.Error() }
