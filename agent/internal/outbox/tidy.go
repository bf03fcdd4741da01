package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// keepCommands is how long command ids are remembered, and maxCommands how many
// at most: a cloud that sends more than one every six seconds for a week is wrong.
const (
	keepCommands = 7 * 24 * time.Hour
	maxCommands  = 100_000
)

// tidyEvery is how often Run tidies.
const tidyEvery = 30 * time.Second

// Run takes over what a damaged predecessor held, and tidies now and then, until
// ctx ends; wall tells the time, µs UTC. It
// returns early only with ErrDamaged: what else fails is told to failed and tried
// again.
func (o *Outbox) Run(ctx context.Context, wall func() int64, failed func(error)) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	err := o.takeOver(ctx)
	for {
		if errors.Is(err, ErrDamaged) {
			return err
		}
		if err != nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err = o.takeOver(ctx); err == nil {
			err = o.Tidy(wall())
		}
	}
}

// Tidy does what can wait: deletes what was forgotten, lets go of old command
// ids, gives free pages back to the file system and empties the write-ahead log.
// Its transactions are short. Call it now and then, from Run or an idle loop.
func (o *Outbox) Tidy(wall int64) error {
	if err := o.sweep(); err != nil {
		return fmt.Errorf("tidy: %w", err)
	}
	if err := o.scrub(); err != nil {
		return fmt.Errorf("tidy: %w", o.damaged(err))
	}
	if err := o.dropCommands(wall - keepCommands.Microseconds()); err != nil {
		return fmt.Errorf("tidy: %w", o.damaged(err))
	}
	if err := o.dropClocks(); err != nil {
		return fmt.Errorf("tidy: %w", o.damaged(err))
	}
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.shrink(); err != nil {
		return fmt.Errorf("tidy: %w", o.damaged(err))
	}
	if _, err := o.db.Checkpoint(context.Background(), true); err != nil {
		return fmt.Errorf("tidy: %w", o.damaged(err))
	}
	return nil
}

// Pages: those that stay free for what comes next, and those that go at once.
const (
	keepPages   = 1024
	shrinkPages = 512
)

func (o *Outbox) shrink() error {
	var free int
	if err := o.db.Read.QueryRow(`PRAGMA freelist_count`).Scan(&free); err != nil {
		return err
	}
	if free <= keepPages {
		return nil
	}
	return o.db.Shrink(context.Background(), min(free-keepPages, shrinkPages))
}

func (o *Outbox) dropCommands(before int64) error {
	var old []string
	o.mu.Lock()
	if n := len(o.seen) - maxCommands; n > 0 {
		before = max(before, slices.Sorted(maps.Values(o.seen))[n])
	}
	for id, at := range o.seen {
		if at < before {
			old = append(old, id)
			delete(o.seen, id)
		}
	}
	o.mu.Unlock()
	if len(old) == 0 {
		return nil
	}
	o.write.Lock()
	defer o.write.Unlock()
	return o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM command WHERE at < $1`, before)
		return err
	})
}
