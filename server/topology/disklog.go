package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bberrors "go.etcd.io/bbolt/errors"
)

// diskLog is Raft's log and its few durable values, in a bbolt file of two buckets. Every method that
// writes has synced when it returns, and what it has written is there as a whole or not at all. bbolt
// checks none of its data, so that each value begins with a CRC-32C over key and content.
//
//	log     index, 8 bytes big-endian -> CRC 4 | version 1 | type 1 | term, time: varints | length of data: varint | data | extensions
//	stable  key -> CRC 4 | value
type diskLog struct{ db *bbolt.DB }

var (
	bucketLog    = []byte("log")
	bucketStable = []byte("stable")
)

const entryVersion = 1

// lockWait is how long another process may take to let go of the file.
const lockWait = 500 * time.Millisecond

// errNotFound is what Raft takes for an absent value, by its words.
var errNotFound = errors.New("not found")

// isNotFound says whether a store has no such value. Raft's stores in memory have an error of their own.
func isNotFound(err error) bool { return err != nil && err.Error() == errNotFound.Error() }

// openDiskLog opens a log, or makes it.
func openDiskLog(name string) (*diskLog, error) {
	_, err := os.Stat(name)
	fresh := errors.Is(err, os.ErrNotExist)
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bberrors.ErrTimeout):
		return nil, fmt.Errorf("another process uses %s: stop the hub that runs on this directory", name)
	case err != nil:
		return nil, fmt.Errorf("opening %s: %w: remove this hub from the group, move its raft directory away, and let it join again", name, err)
	}
	d := &diskLog{db}
	if err = d.prepare(); err == nil && fresh {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", name, err), db.Close())
	}
	return d, nil
}

// prepare makes the buckets of a new file. One that has them isn't written to.
func (d *diskLog) prepare() error {
	there := false
	err := d.db.View(func(tx *bbolt.Tx) error {
		there = tx.Bucket(bucketLog) != nil && tx.Bucket(bucketStable) != nil
		return nil
	})
	if err != nil || there {
		return err
	}
	return d.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketLog)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(bucketStable)
		}
		return err
	})
}

// Close closes the file.
func (d *diskLog) Close() error { return d.db.Close() }

// FirstIndex implements raft.LogStore.
func (d *diskLog) FirstIndex() (uint64, error) {
	return d.end((*bbolt.Cursor).First)
}

// LastIndex implements raft.LogStore.
func (d *diskLog) LastIndex() (uint64, error) {
	return d.end((*bbolt.Cursor).Last)
}

func (d *diskLog) end(of func(*bbolt.Cursor) (key, value []byte)) (index uint64, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		if key, _ := of(tx.Bucket(bucketLog).Cursor()); key != nil {
			index = binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return index, err
}

// GetLog implements raft.LogStore.
func (d *diskLog) GetLog(index uint64, l *raft.Log) error {
	return d.db.View(func(tx *bbolt.Tx) error {
		key := indexKey(index)
		b := tx.Bucket(bucketLog).Get(key)
		if b == nil {
			return raft.ErrLogNotFound
		}
		b, err := opened(key, b)
		if err == nil {
			err = decodeEntry(index, b, l)
		}
		if err != nil {
			return fmt.Errorf("entry %d of the control plane's log: %w", index, err)
		}
		return nil
	})
}

// StoreLog implements raft.LogStore.
func (d *diskLog) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (d *diskLog) StoreLogs(logs []*raft.Log) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog)
		b.FillPercent = 0.9 // keys only grow
		for _, l := range logs {
			key := indexKey(l.Index)
			if err := b.Put(key, sealed(key, encodeEntry(l))); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange implements raft.LogStore; it takes both ends.
func (d *diskLog) DeleteRange(from, to uint64) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog)
		c := b.Cursor()
		for key, _ := c.Seek(indexKey(from)); key != nil && binary.BigEndian.Uint64(key) <= to; key, _ = c.Seek(indexKey(from)) {
			if err := b.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set implements raft.StableStore.
func (d *diskLog) Set(key, value []byte) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketStable).Put(key, sealed(key, value))
	})
}

// Get implements raft.StableStore.
func (d *diskLog) Get(key []byte) (value []byte, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketStable).Get(key)
		if b == nil {
			return errNotFound
		}
		b, err := opened(key, b)
		if err != nil {
			return fmt.Errorf("value %q of the control plane: %w", key, err)
		}
		value = append([]byte{}, b...)
		return nil
	})
	return value, err
}

// SetUint64 implements raft.StableStore.
func (d *diskLog) SetUint64(key []byte, value uint64) error { return d.Set(key, indexKey(value)) }

// GetUint64 implements raft.StableStore.
func (d *diskLog) GetUint64(key []byte) (uint64, error) {
	b, err := d.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("value %q of the control plane has %d bytes instead of 8: %w", key, len(b), errDamaged)
	}
	return binary.BigEndian.Uint64(b), nil
}

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

// errDamaged says that the disk has something else than was written.
var errDamaged = errors.New("it is damaged: remove this hub from the group, move its raft directory away, and let it join again")

// sealed puts the checksum before a value.
func sealed(key, value []byte) []byte {
	b := make([]byte, 4, 4+len(value))
	binary.LittleEndian.PutUint32(b, crcOf(key, value))
	return append(b, value...)
}

// opened is a value without its checksum, which it has to fit.
func opened(key, b []byte) ([]byte, error) {
	if len(b) < 4 || binary.LittleEndian.Uint32(b) != crcOf(key, b[4:]) {
		return nil, errDamaged
	}
	return b[4:], nil
}

func crcOf(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func encodeEntry(l *raft.Log) []byte {
	b := make([]byte, 0, 2+3*binary.MaxVarintLen64+len(l.Data)+len(l.Extensions))
	b = append(b, entryVersion, byte(l.Type))
	b = binary.AppendUvarint(b, l.Term)
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, at)
	b = binary.AppendUvarint(b, uint64(len(l.Data)))
	b = append(b, l.Data...)
	return append(b, l.Extensions...)
}

// decodeEntry reads what encodeEntry wrote, into memory of its own.
func decodeEntry(index uint64, b []byte, l *raft.Log) error {
	if len(b) < 2 {
		return errDamaged
	}
	if b[0] != entryVersion {
		return refuse(CodeNewerFormat, "it has version %d, and this build reads %d: use a newer build; nothing was touched", b[0], entryVersion)
	}
	kind := raft.LogType(b[1])
	b = b[2:]
	term, n := binary.Uvarint(b)
	if n <= 0 {
		return errDamaged
	}
	at, m := binary.Varint(b[n:])
	if m <= 0 {
		return errDamaged
	}
	length, k := binary.Uvarint(b[n+m:])
	b = b[min(len(b), n+m+max(k, 0)):]
	if k <= 0 || length > uint64(len(b)) {
		return errDamaged
	}
	*l = raft.Log{Index: index, Term: term, Type: kind, Data: append([]byte{}, b[:length]...)}
	if rest := b[length:]; len(rest) > 0 {
		l.Extensions = append([]byte{}, rest...)
	}
	if at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
