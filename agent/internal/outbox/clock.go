package outbox

import (
	"context"
	"database/sql"
	"errors"
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
	_, err := tx.Exec(`INSERT INTO clock (id, boot, offset, state) VALUES ($1, $2, $3, $4)`, k.id, int64(k.boot), k.offset, k.state)
	s.clock = k
	return err
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
