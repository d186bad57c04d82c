// Package replicatortest has a namespace's log in memory, for tests of
// replication: a real log's promises, and faults on demand.
package replicatortest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// recordPrefix is what the wire knows of a record: length, CRC, LSN, epoch.
const recordPrefix = 24

// Record makes a record as the wire has it.
func Record(lsn, epoch uint64, payload []byte) []byte {
	r := make([]byte, recordPrefix, recordPrefix+len(payload))
	r = append(r, payload...)
	binary.LittleEndian.PutUint32(r, uint32(len(r)))
	binary.LittleEndian.PutUint64(r[8:], lsn)
	binary.LittleEndian.PutUint64(r[16:], epoch)
	binary.LittleEndian.PutUint32(r[4:], crc32.Checksum(r[8:], crc32.MakeTable(crc32.Castagnoli)))
	return r
}

// epochMagic begins the payload of a record that begins an epoch; its bits follow.
var epochMagic = []byte("epoch\x00")

// Log is a namespace's log in memory.
type Log struct {
	NoSnapshots
	name string

	mu      sync.Mutex
	lineage dbkernel.Lineage
	records [][]byte // of LSN 1, 2, 3 …
	epochs  []dbkernel.EpochStart
	durable uint64
	commit  uint64
	first   uint64
	changed chan struct{} // closed and replaced at each change
	tails   map[*tail]struct{}
	rand    *rand.Rand
	broken  string // code of why it can't be opened; empty: it can

	// OnAppend sees each record before a replica takes it. Set before use.
	OnAppend func(lsn uint64, record []byte)
	// AppendErr fails appends while it answers an error. Set before use.
	AppendErr func() error
	// AppendDelay is how long an append takes to become durable. Set before use.
	AppendDelay func() time.Duration
}

// NewLog makes an empty log.
func NewLog(name string, lineage dbkernel.Lineage, seed uint64) *Log {
	return &Log{
		name: name, lineage: lineage, first: 1, changed: make(chan struct{}),
		tails: make(map[*tail]struct{}), rand: rand.New(rand.NewPCG(seed, 0x10c)),
	}
}

var _ replicator.Log = (*Log)(nil)

func (l *Log) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// StartEpoch begins an epoch, as an owner does at each start.
func (l *Log) StartEpoch(epoch uint64) {
	l.mu.Lock()
	bits := l.rand.Uint64()
	l.mu.Unlock()
	l.write(epoch, binary.LittleEndian.AppendUint64(slices.Clone(epochMagic), bits))
}

// Write appends records in the newest epoch; they are durable and committed.
func (l *Log) Write(payloads ...[]byte) {
	for _, p := range payloads {
		l.mu.Lock()
		epoch := l.epochs[len(l.epochs)-1].Epoch
		l.mu.Unlock()
		l.write(epoch, p)
	}
}

func (l *Log) write(epoch uint64, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(Record(uint64(len(l.records)+1), epoch, payload))
	l.durable = uint64(len(l.records))
	l.commit = l.durable
	l.wakeLocked()
}

// WriteUnsynced appends a record that isn't durable yet.
func (l *Log) WriteUnsynced(payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(Record(uint64(len(l.records)+1), l.epochs[len(l.epochs)-1].Epoch, payload))
}

// Sync makes everything durable and committed.
func (l *Log) Sync() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.durable = uint64(len(l.records))
	l.commit = l.durable
	l.wakeLocked()
}

func (l *Log) addLocked(r []byte) {
	l.records = append(l.records, r)
	if p := r[recordPrefix:]; bytes.HasPrefix(p, epochMagic) {
		l.epochs = append(l.epochs, dbkernel.EpochStart{
			Epoch:    binary.LittleEndian.Uint64(r[16:]),
			FirstLSN: uint64(len(l.records)),
			Bits:     binary.LittleEndian.Uint64(p[len(epochMagic):]),
		})
	}
}

// Crash loses what isn't durable, and of the commit LSN all but a part; readers
// end with dbkernel.ErrClosed.
func (l *Log) Crash(keepCommit uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutLocked(l.durable)
	l.commit = min(l.commit, keepCommit)
	for t := range l.tails {
		t.broken = dbkernel.ErrClosed
	}
	l.wakeLocked()
}

// Supersede cuts the log off behind lsn, as the kernel does at a fork; readers end
// with dbkernel.ErrSuperseded.
func (l *Log) Supersede(lsn uint64) {
	l.Cut(lsn)
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.tails {
		t.broken = dbkernel.ErrSuperseded
	}
	l.wakeLocked()
}

// Quarantine makes the status that of a namespace that can't be opened, for
// the reason that code names.
func (l *Log) Quarantine(code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = code
}

// Cut drops the records behind lsn, durable or not, as a disk that lied does.
func (l *Log) Cut(lsn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutLocked(lsn)
	l.durable, l.commit = min(l.durable, lsn), min(l.commit, lsn)
}

func (l *Log) cutLocked(lsn uint64) {
	l.records = l.records[:min(lsn, uint64(len(l.records)))]
	for n := len(l.epochs); n > 0 && l.epochs[n-1].FirstLSN > lsn; n-- {
		l.epochs = l.epochs[:n-1]
	}
}

// Trim makes the log begin at first; readers that haven't come that far are told.
func (l *Log) Trim(first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = max(l.first, min(first, uint64(len(l.records))+1))
	for t := range l.tails {
		if t.next < l.first {
			t.broken = dbkernel.ErrTrimmed
		}
	}
	l.wakeLocked()
}

// Damage flips a bit of the stored record.
func (l *Log) Damage(lsn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := slices.Clone(l.records[lsn-1])
	r[len(r)-1] ^= 1
	l.records[lsn-1] = r
}

// Restore replaces the stored record.
func (l *Log) Restore(lsn uint64, r []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[lsn-1] = r
}

// Get returns a record.
func (l *Log) Get(lsn uint64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lsn == 0 || lsn > uint64(len(l.records)) {
		return nil
	}
	return l.records[lsn-1]
}

// Wait returns when the log's state satisfies ok, or ctx ends.
func (l *Log) Wait(ctx context.Context, ok func(dbkernel.Status) bool) error {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if st := l.Status(); ok(st) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w; the log stands at %+v", ctx.Err(), l.Status())
		}
	}
}

// Status implements replicator.Log.
func (l *Log) Status() dbkernel.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != "" {
		return dbkernel.Status{Name: l.name, State: dbkernel.StateQuarantined, Code: l.broken, Reason: "it can't be opened"}
	}
	st := dbkernel.Status{
		Name: l.name, Lineage: l.lineage, LSN: uint64(len(l.records)),
		DurableLSN: l.durable, CommitLSN: l.commit, FirstLSN: l.first, State: dbkernel.StateServing,
	}
	if n := len(l.epochs); n > 0 {
		st.Epoch = l.epochs[n-1].Epoch
	}
	return st
}

// EpochTable implements replicator.Log.
func (l *Log) EpochTable() []dbkernel.EpochStart {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != "" {
		return nil
	}
	return slices.Clone(l.epochs)
}

// Append implements replicator.Log.
func (l *Log) Append(ctx context.Context, records [][]byte, commit uint64) error {
	if l.AppendDelay != nil {
		select {
		case <-time.After(l.AppendDelay()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if l.AppendErr != nil {
		if err := l.AppendErr(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.wakeLocked()
	for _, r := range records {
		if err := l.appendLocked(r); err != nil {
			return err
		}
	}
	l.commit = max(l.commit, min(commit, l.durable))
	return nil
}

func (l *Log) appendLocked(r []byte) error {
	if crc32.Checksum(r[8:], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(r[4:]) {
		return fmt.Errorf("CRC: %w", dbkernel.ErrDamaged)
	}
	lsn, end := binary.LittleEndian.Uint64(r[8:]), uint64(len(l.records))
	switch {
	case lsn > end+1:
		return fmt.Errorf("LSN %d behind %d: %w", lsn, end, dbkernel.ErrGap)
	case lsn <= end:
		if !bytes.Equal(l.records[lsn-1], r) {
			return fmt.Errorf("LSN %d: %w", lsn, dbkernel.ErrFork)
		}
		return nil
	}
	if l.OnAppend != nil {
		l.OnAppend(lsn, r)
	}
	l.addLocked(slices.Clone(r))
	l.durable = lsn
	return nil
}

// SetCommit implements replicator.Log.
func (l *Log) SetCommit(commit uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commit = max(l.commit, min(commit, l.durable))
	l.wakeLocked()
}

// Tail implements replicator.Log.
func (l *Log) Tail(name string, from uint64) (replicator.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case from < l.first:
		return nil, fmt.Errorf("LSN %d is before %d: %w", from, l.first, dbkernel.ErrTrimmed)
	case from > uint64(len(l.records))+1:
		return nil, fmt.Errorf("LSN %d is behind %d: %w", from, len(l.records), dbkernel.ErrGap)
	}
	t := &tail{log: l, name: name, next: from}
	l.tails[t] = struct{}{}
	return t, nil
}

// Pins lists the readers and the last LSN that each has acknowledged.
func (l *Log) Pins() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	pins := make(map[string]uint64)
	for t := range l.tails {
		pins[t.name] = t.acked
	}
	return pins
}

// tail is a reader; the log's mutex guards it.
type tail struct {
	log    *Log
	name   string
	next   uint64
	acked  uint64
	broken error
}

// Next implements replicator.Reader. Runs and the pieces in them have random lengths.
func (t *tail) Next(ctx context.Context, maxBytes int) (dbkernel.Run, error) {
	l := t.log
	for {
		l.mu.Lock()
		run, err, changed := t.readLocked(maxBytes), t.broken, l.changed
		l.mu.Unlock()
		switch {
		case err != nil:
			return dbkernel.Run{}, err
		case run.Records != nil:
			return run, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return dbkernel.Run{}, ctx.Err()
		}
	}
}

func (t *tail) readLocked(maxBytes int) dbkernel.Run {
	l := t.log
	run := dbkernel.Run{First: t.next, Last: t.next - 1, Commit: l.commit}
	if t.broken != nil {
		return run
	}
	for t.next <= l.commit && (run.Bytes == 0 || run.Bytes+len(l.records[t.next-1]) <= maxBytes) {
		r := l.records[t.next-1]
		if n := len(run.Records); n > 0 && l.rand.IntN(2) == 0 {
			run.Records[n-1] = append(slices.Clip(run.Records[n-1]), r...)
		} else {
			run.Records = append(run.Records, slices.Clone(r))
		}
		run.Bytes += len(r)
		run.Last = t.next
		t.next++
		if l.rand.IntN(20) == 0 {
			break
		}
	}
	return run
}

// Ack implements replicator.Reader.
func (t *tail) Ack(lsn uint64) {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	t.acked = max(t.acked, lsn)
}

// Close implements replicator.Reader.
func (t *tail) Close() {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	delete(t.log.tails, t)
}
