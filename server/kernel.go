package server

import (
	"context"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/server/config"
)

// startKernel takes the data directory and opens the database in it.
func (n *Node) startKernel(context.Context) error {
	// A directory that a newer version wrote must be left as it is; that is
	// looked up once more when the lock is held.
	if _, _, err := readIdentity(n.fs, n.path(identityName)); err != nil {
		return err
	}
	db, err := dbkernel.Open(dbkernel.Options{
		Dir: n.cfg.DataDir, FS: n.fs, Logger: n.log.Named("kernel"), Clock: n.kernelClock,
		MemoryLimit:  n.cfg.MemoryLimit,
		Defaults:     dbkernel.NamespaceOptions{Replica: n.role == RoleRelayer, Storage: storageOptions(n.cfg.Storage)},
		OnEvent:      n.onEvent,
		GuardCrashes: true,
	})
	if err != nil {
		return err
	}
	n.db = db
	n.onStop("the database", func(context.Context) error { return db.Close() })
	return nil
}

// onEvent counts what an operator should know; the kernel has logged it.
func (n *Node) onEvent(e dbkernel.Event) { n.metrics.Event(string(e.Kind)) }

func quotaOf(q config.Quota) dbkernel.Quota {
	return dbkernel.Quota{MaxBytes: q.MaxBytes, WriteBytesPerSecond: q.WriteBytesPerSecond}
}

// storageOptions are the kernel's words for what was configured.
func storageOptions(s config.Storage) dbkernel.StorageOptions {
	o := dbkernel.StorageOptions{
		Engine: s.Engine, SegmentSize: s.SegmentSize, MemtableSize: s.MemtableSize,
		FlushInterval: s.FlushInterval, MapSize: s.MapSize,
		Retention: dbkernel.Retention{
			MaxAge: s.Retention.MaxAge, MaxBytes: s.Retention.MaxBytes, MinSegments: s.Retention.MinSegments,
			PinMaxAge: s.Retention.PinMaxAge, PinMaxBytes: s.Retention.PinMaxBytes,
		},
	}
	if s.Sync == "interval" {
		o.SyncInterval = s.SyncInterval
	}
	return o
}
