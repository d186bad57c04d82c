package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
)

// command is what a child is told.
type command struct {
	Do     string // follow, stall, relay, await, reset, report
	Target target
	N      int           // follow, relay: how many
	LSN    uint64        // await: which all must have
	Limit  time.Duration // await: for how long
}

// answer is what it says.
type answer struct {
	Error   string
	Samples samples
	CPU     time.Duration
	Bytes   uint64 // of records that came
}

// target is whom to follow, and what there is already.
type target struct {
	Address     string
	Lineage     string
	LSN         uint64
	Epochs      []dbkernel.EpochStart
	TLS         *tlsFiles
	Compression string
}

// childProcess follows.
type childProcess struct {
	visible   histogram
	bytes     atomic.Uint64
	hint      markerHint
	followers []*checkedLog
	stalled   bool // its followers take no records
	upstreams []*replicator.Upstream
	certs     []interface{ Close() }
	relayers  []*relayer
	dir       string

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newChild() *childProcess {
	c := &childProcess{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *childProcess) do(cmd command) (answer, error) {
	switch cmd.Do {
	case "follow":
		return answer{}, c.follow(cmd)
	case "stall":
		c.stalled = true
		return answer{}, c.follow(cmd)
	case "relay":
		return answer{}, c.relay(cmd)
	case "await":
		return answer{}, c.await(cmd)
	case "reset":
		c.visible.take()
		c.bytes.Store(0)
		return answer{CPU: cpuTime()}, nil
	case "report":
		return answer{Samples: c.visible.take(), CPU: cpuTime(), Bytes: c.bytes.Load()}, nil
	default:
		return answer{}, fmt.Errorf("no such command: %q", cmd.Do)
	}
}

func (c *childProcess) close() {
	c.cancel()
	var wg sync.WaitGroup
	for _, u := range c.upstreams {
		wg.Go(func() {
			if err := u.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "fanout: follower:", err)
			}
		})
	}
	wg.Wait()
	c.wg.Wait()
	for _, r := range c.relayers {
		if err := r.db.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "fanout: relayer:", err)
		}
	}
	for _, s := range c.certs {
		s.Close()
	}
	if c.dir != "" {
		if err := os.RemoveAll(c.dir); err != nil {
			fmt.Fprintln(os.Stderr, "fanout:", err)
		}
	}
}

// credentials are shared by all connections of the child.
func (c *childProcess) credentials(t target) (credentials.TransportCredentials, error) {
	if t.TLS == nil {
		return insecure.NewCredentials(), nil
	}
	creds, store, err := t.TLS.dialling()
	if err != nil {
		return nil, err
	}
	c.certs = append(c.certs, store)
	return creds, nil
}

func (c *childProcess) upstream(t target, id string, store replicator.Store, creds credentials.TransportCredentials) error {
	u, err := replicator.NewUpstream(replicator.UpstreamOptions{
		Name: "hub", NodeID: id, Addresses: []string{t.Address}, Namespaces: []string{namespace}, Store: store, Credentials: creds,
		Compression: t.Compression,
	})
	if err != nil {
		return err
	}
	c.upstreams = append(c.upstreams, u)
	u.Start()
	return nil
}

// follow starts followers that keep no log, each over a connection of its own.
func (c *childProcess) follow(cmd command) error {
	creds, err := c.credentials(cmd.Target)
	if err != nil {
		return err
	}
	for i := range cmd.N {
		l, err := newCheckedLog(c, cmd.Target)
		if err != nil {
			return err
		}
		c.followers = append(c.followers, l)
		if err := c.upstream(cmd.Target, fmt.Sprint("follower-", len(c.followers)), l, creds); err != nil {
			return err
		}
		if i%50 == 49 {
			time.Sleep(20 * time.Millisecond) // the hub's queue of new connections has an end
		}
	}
	return c.awaitConnected()
}

func (c *childProcess) awaitConnected() error {
	deadline := time.Now().Add(30 * time.Second)
	for _, u := range c.upstreams {
		for !u.Status()[0].Connected {
			if time.Now().After(deadline) {
				return fmt.Errorf("a follower has no connection: %+v", u.Status()[0])
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// await waits until all have a record.
func (c *childProcess) await(cmd command) error {
	deadline := time.Now().Add(cmd.Limit)
	for {
		behind := 0
		for _, l := range c.followers {
			if l.lsn.Load() < cmd.LSN {
				behind++
			}
		}
		for _, r := range c.relayers {
			if n, err := r.db.Namespace(namespace); err != nil || n.Status().CommitLSN < cmd.LSN {
				behind++
			}
		}
		if behind == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d followers haven't reached LSN %d in %v", behind, cmd.LSN, cmd.Limit)
		}
		time.Sleep(time.Millisecond)
	}
}

// checkedLog is the log of a follower that checks records and keeps none.
type checkedLog struct {
	replicator.Log   // what isn't needed to follow
	replicator.Store // this namespace is all there is

	child   *childProcess
	lineage dbkernel.Lineage
	epochs  []dbkernel.EpochStart
	lsn     atomic.Uint64
}

func newCheckedLog(c *childProcess, t target) (*checkedLog, error) {
	lineage, err := dbkernel.ParseLineage(t.Lineage)
	if err != nil {
		return nil, err
	}
	l := &checkedLog{child: c, lineage: lineage, epochs: t.Epochs}
	l.lsn.Store(t.LSN)
	return l, nil
}

func (l *checkedLog) Open(string) (replicator.Log, error) { return l, nil }
func (l *checkedLog) Staged(string) (replicator.Stage, error) {
	return nil, dbkernel.ErrNamespaceNotFound
}
func (l *checkedLog) Accepted(string) dbkernel.Lineage { return dbkernel.Lineage{} }

func (l *checkedLog) Status() dbkernel.Status {
	lsn := l.lsn.Load()
	return dbkernel.Status{Name: namespace, Replica: true, State: dbkernel.StateServing, Lineage: l.lineage,
		LSN: lsn, DurableLSN: lsn, CommitLSN: lsn, FirstLSN: 1}
}

func (l *checkedLog) EpochTable() []dbkernel.EpochStart { return l.epochs }
func (l *checkedLog) Integrity() dbkernel.Integrity     { return dbkernel.Integrity{} }
func (l *checkedLog) Marks() []dbkernel.Mark            { return nil }
func (l *checkedLog) SetCommit(uint64)                  {}

// Append checks that records come one after the other; the sink has checked their CRCs.
func (l *checkedLog) Append(ctx context.Context, records [][]byte, _ uint64) error {
	if l.child.stalled {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	now, next := time.Now(), l.lsn.Load()+1
	for _, r := range records {
		if lsn := binary.LittleEndian.Uint64(r[8:]); lsn != next {
			return fmt.Errorf("LSN %d instead of %d: %w", lsn, next, dbkernel.ErrGap)
		}
		next++
		l.child.bytes.Add(uint64(len(r)))
		if at, ok := l.child.hint.moment(r); ok {
			l.child.visible.add(now.Sub(at))
		}
	}
	l.lsn.Store(next - 1)
	return nil
}

// relayer is a real one, with a kernel on the disk.
type relayer struct{ db *dbkernel.DB }

func (c *childProcess) relay(cmd command) error {
	creds, err := c.credentials(cmd.Target)
	if err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "fanout-relayers-*"); err != nil {
		return err
	}
	for i := range cmd.N {
		db, err := dbkernel.Open(dbkernel.Options{
			Dir: filepath.Join(c.dir, fmt.Sprint(i)), Defaults: dbkernel.NamespaceOptions{Replica: true, Storage: dbkernel.DefaultStorage()},
		})
		if err != nil {
			return err
		}
		c.relayers = append(c.relayers, &relayer{db})
		if err := c.upstream(cmd.Target, fmt.Sprint("relayer-", i), replicator.KernelStore(db), creds); err != nil {
			return err
		}
	}
	if err := c.awaitConnected(); err != nil {
		return err
	}
	if err := c.await(command{LSN: cmd.Target.LSN, Limit: 30 * time.Second}); err != nil {
		return err
	}
	for _, r := range c.relayers {
		if err := c.watch(r.db, cmd.Target.LSN+1); err != nil {
			return err
		}
	}
	return nil
}

// watch measures when records become visible in a relayer, as a local reader of its log sees it.
func (c *childProcess) watch(db *dbkernel.DB, from uint64) error {
	n, err := db.Namespace(namespace)
	if err != nil {
		return err
	}
	t, err := n.Tail("fanout", from)
	if err != nil {
		return err
	}
	c.wg.Go(func() {
		defer t.Close()
		for {
			run, err := t.Next(c.ctx, 1<<20)
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					fmt.Fprintln(os.Stderr, "fanout: relayer:", err)
				}
				return
			}
			c.note(run, time.Now())
			t.Ack(run.Last)
		}
	})
	return nil
}

// note counts the records of a run.
func (c *childProcess) note(run dbkernel.Run, now time.Time) {
	for _, piece := range run.Records {
		for len(piece) > 0 {
			n := int(binary.LittleEndian.Uint32(piece))
			if at, ok := c.hint.moment(piece[:n]); ok {
				c.visible.add(now.Sub(at))
			}
			c.bytes.Add(uint64(n))
			piece = piece[n:]
		}
	}
}
