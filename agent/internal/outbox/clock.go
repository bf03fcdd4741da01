package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
)

// What is known of the clock that records were stamped by.
const (
	clockUnknown      = 0 // not synchronised
	clockSynchronised = 1
	clockCorrected    = 2 // it was not, and what it stamped was corrected since
)

// clock is one stretch of time over which wall and monotonic time ran alike.
type clock struct {
	id     int64
	boot   uint64
	offset int64 // wall - mono, µs
	state  int64
}

// clockTolerance is how far, in µs, wall and monotonic time may part while a
// clock is slewed before it counts as another one.
const clockTolerance = 500_000

func (k *clock) read(tx *sql.Tx) error {
	var boot int64
	err := tx.QueryRow(`SELECT id, boot, offset, state FROM clock ORDER BY id DESC LIMIT 1`).Scan(&k.id, &boot, &k.offset, &k.state)
	k.boot = uint64(boot)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// stamp makes s.clock the one of c.
func (s *state) stamp(tx *sql.Tx, c *Commit) error {
	k := clock{id: s.clock.id + 1, boot: c.Boot, offset: c.Wall - c.Mono, state: clockUnknown}
	if c.Synchronised {
		k.state = clockSynchronised
	}
	apart := k.offset - s.clock.offset
	if s.clock.id != 0 && k.boot == s.clock.boot && k.state == s.clock.state && apart < clockTolerance && apart > -clockTolerance {
		return nil
	}
	_, err := tx.Exec(`INSERT INTO clock (id, boot, offset, since, state) VALUES ($1, $2, $3, $4, $5)`, k.id, int64(k.boot), k.offset, c.Mono, k.state)
	s.clock = k
	return err
}

// stretch is a time in which records were stamped by a clock of which nothing was
// known.
type stretch struct {
	id           int64
	offset       int64
	since, until int64 // Mono; it ends where the next clock begins
}

// stretches are those of a boot whose clock was off by more than a tolerance (µs)
// from what is known to be true now: wall less monotonic time is offset.
func stretches(db interface {
	Query(string, ...any) (*sql.Rows, error)
}, boot uint64, offset, tolerance int64) (out []stretch, err error) {
	rows, err := db.Query(`SELECT id, offset, since, state FROM clock WHERE boot = $1 ORDER BY id`, int64(boot))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	open := -1 // of out, the one that the next clock ends
	for rows.Next() {
		x := stretch{until: math.MaxInt64}
		var state int64
		if err := rows.Scan(&x.id, &x.offset, &x.since, &state); err != nil {
			return nil, err
		}
		if open >= 0 {
			out[open].until = x.since
		}
		open = -1
		if off := x.offset - offset; state == clockUnknown && (off > tolerance || off < -tolerance) {
			open = len(out)
			out = append(out, x)
		}
	}
	return out, rows.Err()
}

// fixer sets right a wall time of one of the stretches; what is of none stays. Of
// two that it may be of, the newer one counts.
func fixer(list []stretch, offset int64) func(int64) int64 {
	return func(wall int64) int64 {
		for _, x := range slices.Backward(list) {
			// An onset lies before the commit that it was decided in.
			if mono := wall - x.offset; mono >= x.since-onsetBefore && mono < x.until {
				return mono + offset
			}
		}
		return wall
	}
}

// onsetBefore is how long before a stretch's first commit what it stamped may have
// been, µs: a rule's delay.
const onsetBefore = 60_000_000

// Misdated says whether anything was stamped in a boot by a clock that was wrong:
// off by more than a tolerance (µs) from offset, which is what wall less monotonic
// time is now known to be. fix sets such a wall time right.
func (o *Outbox) Misdated(boot uint64, offset, tolerance int64) (fix func(int64) int64, wrong bool, err error) {
	list, err := stretches(o.db.Read, boot, offset, tolerance)
	if err != nil {
		return nil, false, fmt.Errorf("look for wrong times: %w", o.damaged(err))
	}
	return fixer(list, offset), len(list) > 0, nil
}

// keepClocks is how many may lie there before those that no record refers to go:
// looking for them reads every record.
const keepClocks = 1000

func (o *Outbox) dropClocks() error {
	var n int
	if err := o.db.Read.QueryRow(`SELECT count(*) FROM clock`).Scan(&n); err != nil || n <= keepClocks {
		return err
	}
	o.write.Lock()
	defer o.write.Unlock()
	return o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM clock WHERE id < (SELECT max(id) FROM clock) AND id NOT IN (SELECT clock FROM record)`)
		return err
	})
}
