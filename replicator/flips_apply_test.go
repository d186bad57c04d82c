package replicator_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// plantingStore is a relayer's, which applies one value wrongly: it writes another
// one, with every checksum as it should be.
type plantingStore struct {
	replicator.Store
	value []byte
}

func (s plantingStore) Open(namespace string) (replicator.Log, error) {
	log, err := s.Store.Open(namespace)
	if err != nil {
		return nil, err
	}
	return plantingLog{log, s.value}, nil
}

type plantingLog struct {
	replicator.Log
	value []byte
}

func (l plantingLog) Append(ctx context.Context, records [][]byte, commit uint64) error {
	for i, run := range records {
		records[i] = plant(run, l.value)
	}
	return l.Log.Append(ctx, records, commit)
}

// plant changes a value in the record that has it. A record is its length, a CRC-32C of
// what follows, and the rest.
func plant(run, value []byte) []byte {
	at := bytes.Index(run, value)
	if at < 0 {
		return run
	}
	run = bytes.Clone(run)
	run[at] ^= 1
	for record := run; len(record) > 0; {
		size := binary.LittleEndian.Uint32(record)
		binary.LittleEndian.PutUint32(record[4:], crc32.Checksum(record[8:size], crc32.MakeTable(crc32.Castagnoli)))
		record = record[size:]
	}
	return run
}

// TestALogicErrorIsFoundAtTheNextMark: no checksum tells that a relayer has applied
// something wrongly. The digests at the next mark do, and the range is fetched again.
func TestALogicErrorIsFoundAtTheNextMark(t *testing.T) {
	f := newFlipped(t)
	s := stored{name: "planted", want: f.noise(200), read: func(n *dbkernel.Namespace) ([]byte, error) { return readKey(n, []byte("planted")) }}
	f.unfollow()
	f.edge.store = plantingStore{f.edge.store, s.want}
	f.edge.follow(f.hub.address)

	var b dbkernel.Batch
	f.must(b.Put([]byte("planted"), s.want, 0))
	hub := f.hub.namespace(f.ctx)
	_, err := hub.Write(f.ctx, &b)
	f.must(err)
	f.awaitAt(f.edge)
	if got, err := s.read(f.edge.namespace(f.ctx)); err != nil || bytes.Equal(got, s.want) {
		t.Fatalf("the relayer applied it rightly: %v", err)
	}
	begin := time.Now()
	_, err = hub.WriteMark(f.ctx)
	f.must(err)
	f.await("the difference is found", func() bool { return f.edge.upstream.Status()[0].Integrity.Differences > 0 })
	if found := time.Since(begin); found > 10*time.Second {
		t.Errorf("it was found %v after the mark", found)
	} else {
		t.Logf("found %v after the mark", found)
	}
	f.await("the relayer is right", func() bool {
		got, err := s.read(f.edge.namespace(f.ctx))
		return err == nil && bytes.Equal(got, s.want)
	})
	f.settle()
	f.checkAll("edge", f.edge.namespace(f.ctx))
}
