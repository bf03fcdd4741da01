package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Retention is how long rows are kept. The audit log is not among them: nothing
// in the product deletes one of its rows. Open alerts are never removed.
type Retention struct {
	Vitals     time.Duration // summaries and holes, from their time
	Alerts     time.Duration // with their events, from their end
	Feed       time.Duration
	FeedRows   uint64        // the newest that are kept at most
	Commands   time.Duration // from when they were made, answered or not
	Acts       time.Duration // how long an idempotency key is remembered
	OddRecords time.Duration
	Tokens     time.Duration // from when they expired
}

const day = 24 * time.Hour

// DefaultRetention is what a cloud does that is told nothing else.
func DefaultRetention() Retention {
	return Retention{
		Vitals: 30 * day, Alerts: 365 * day, Feed: 7 * day, FeedRows: 500_000,
		Commands: 30 * day, Acts: 7 * day, OddRecords: 90 * day, Tokens: 90 * day,
	}
}

// Removed counts the rows that a retention took away, by table.
type Removed map[string]int

const (
	retainEvery = time.Hour
	retainChunk = 5000 // rows that one transaction removes at most, so that nobody waits long
	shrinkPages = 4096 // given back to the file system at a time
)

// RunRetention removes what is older than r, now and then every hour, until ctx
// ends. It returns early only when the store is damaged or closed.
func (s *Store) RunRetention(ctx context.Context, r Retention, log *slog.Logger) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		removed, err := s.Retain(ctx, r)
		switch {
		case errors.Is(err, ErrDamaged) || errors.Is(err, ErrClosed):
			return fmt.Errorf("retention: %w", err)
		case err != nil && ctx.Err() == nil:
			log.Error("retention failed, trying again in an hour", "error", err)
		case len(removed) > 0:
			log.Info("old rows removed", "rows", removed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Retain removes what is older than r once, in small transactions, and gives the
// space back.
func (s *Store) Retain(ctx context.Context, r Retention) (Removed, error) {
	before := func(d time.Duration) int64 { return s.now() - d.Microseconds() }
	removed := Removed{}
	rounds := []struct {
		table string
		step  func(tx *Tx) (int, error)
	}{
		{"feed", func(tx *Tx) (int, error) { return tx.TrimFeed(before(r.Feed), r.FeedRows, retainChunk) }},
		{"alert", func(tx *Tx) (int, error) { return tx.trimAlerts(before(r.Alerts)) }},
		{"hole", trim(`DELETE FROM hole WHERE id IN (SELECT id FROM hole WHERE to_at < $1 LIMIT $2)`, before(r.Vitals))},
		{"command", trim(`DELETE FROM command WHERE id IN (SELECT id FROM command WHERE made_at < $1 LIMIT $2)`, before(r.Commands))},
		{"act", trim(`DELETE FROM act WHERE (person, key) IN (SELECT person, key FROM act WHERE at < $1 LIMIT $2)`, before(r.Acts))},
		{"odd_record", trim(`DELETE FROM odd_record WHERE (gateway, epoch, lane, seq) IN
			(SELECT gateway, epoch, lane, seq FROM odd_record WHERE taken_at < $1 LIMIT $2)`, before(r.OddRecords))},
		{"token", trim(`DELETE FROM token WHERE id IN (SELECT id FROM token WHERE expires_at < $1 LIMIT $2)`, before(r.Tokens))},
	}
	for _, round := range rounds {
		if err := s.repeat(ctx, removed, round.table, round.step); err != nil {
			return removed, err
		}
	}
	if err := s.retainVitals(ctx, removed, before(r.Vitals)); err != nil {
		return removed, err
	}
	if len(removed) == 0 {
		return removed, nil
	}
	return removed, s.alone(ctx, func() error {
		ctx := context.WithoutCancel(ctx)
		if err := s.db.Shrink(ctx, shrinkPages); err != nil {
			return err
		}
		_, err := s.db.Checkpoint(ctx, true)
		return err
	})
}

func trim(query string, before int64) func(*Tx) (int, error) {
	return func(tx *Tx) (int, error) { return affected(tx.Exec(query, before, retainChunk)) }
}

// repeat runs a step until it removes nothing more.
func (s *Store) repeat(ctx context.Context, removed Removed, table string, step func(*Tx) (int, error)) error {
	for {
		var n int
		err := s.Do(ctx, Normal, func(tx *Tx) (err error) {
			n, err = step(tx)
			return err
		})
		if err != nil {
			return fmt.Errorf("remove old rows of %s: %w", table, err)
		}
		if n == 0 {
			return nil
		}
		removed[table] += n
	}
}

// retainVitals goes bed by bed, because a bed's rows lie together.
func (s *Store) retainVitals(ctx context.Context, removed Removed, before int64) error {
	var beds []int64
	err := s.View(ctx, func(tx *Tx) error {
		return tx.each(func(row scanner) error {
			var n int64
			err := row.Scan(&n)
			beds = append(beds, n)
			return err
		}, `SELECT number FROM bed`)
	})
	if err != nil {
		return err
	}
	for _, bed := range beds {
		err := s.repeat(ctx, removed, "vitals", func(tx *Tx) (int, error) {
			return affected(tx.Exec(`DELETE FROM vitals WHERE (bed, start, part) IN
				(SELECT bed, start, part FROM vitals WHERE bed = $1 AND start < $2 ORDER BY start LIMIT $3)`, bed, before, retainChunk))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// trimAlerts removes alerts that are over, with their events. An alert that was
// never raised here counts from its events.
func (tx *Tx) trimAlerts(before int64) (int, error) {
	const old = `SELECT id FROM alert WHERE open = 0 AND
		((ended_at > 0 AND ended_at < $1) OR (kind = '' AND NOT EXISTS (SELECT 1 FROM alert_event WHERE alert = alert.id AND at >= $1)))
		LIMIT $2`
	if _, err := tx.Exec(`DELETE FROM alert_event WHERE alert IN (`+old+`)`, before, retainChunk); err != nil {
		return 0, err
	}
	// The same list again: removing events only makes more of the never raised old.
	return affected(tx.Exec(`DELETE FROM alert WHERE id IN (`+old+`)`, before, retainChunk))
}
