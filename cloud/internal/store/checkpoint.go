package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// checkpointEvery bounds how much of the newest is in the write-ahead log alone.
// SQLite itself copies the log once it has 1000 pages, which a quiet night does
// not fill; and so a checkpoint here has about 4 MB to copy at most, unless a
// reader held the log back. The writer waits for as long as that takes.
const checkpointEvery = time.Minute

// RunCheckpoints moves what was written into the database file every minute, and
// cuts the write-ahead log to nothing, until ctx ends. While a reader needs part
// of the log it does what it can and tries again a minute later. It returns early
// only when the store is damaged or closed.
func (s *Store) RunCheckpoints(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.checkpoint(ctx)
		switch {
		case errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed):
			return fmt.Errorf("checkpoint: %w", err)
		case err != nil && ctx.Err() == nil:
			log.Error("the write-ahead log was not moved into the database, trying again in a minute", "error", err)
		}
	}
}

// checkpoint does nothing when nothing was written since the last.
func (s *Store) checkpoint(ctx context.Context) error {
	if stat, err := os.Stat(s.db.Path() + "-wal"); err == nil && stat.Size() == 0 {
		return nil
	}
	return s.alone(ctx, func() error {
		_, err := s.db.Checkpoint(ctx, true)
		return err
	})
}
