package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"wardline/shared/link"
	"wardline/shared/sqlite"
)

// What a row costs beside its payload, about: key, columns, its share of pages.
const (
	batchOverhead  = 64
	recordOverhead = 96
)

// statements are the writer's, prepared once.
type statements struct {
	batch, record, checkpoint, raise, drop, command *sql.Stmt
}

func (s *statements) prepare(db *sql.DB) error {
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&s.batch, `INSERT INTO batch (n, boot, mono, wall, synchronised, total, sealed_with, frames) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`},
		{&s.record, `INSERT INTO record (lane, seq, kind, observed, hash, total, clock, sealed_with, payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`},
		{&s.checkpoint, `INSERT INTO checkpoint (id, batch, sealed_with, state) VALUES (1, $1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, sealed_with = excluded.sealed_with, state = excluded.state`},
		{&s.raise, `INSERT INTO episode (id, untold, sealed_with, state) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE SET untold = excluded.untold, sealed_with = excluded.sealed_with, state = excluded.state`},
		{&s.drop, `DELETE FROM episode WHERE id = $1`},
		{&s.command, `INSERT INTO command (id, at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`},
	} {
		var err error
		if *p.to, err = db.Prepare(p.sql); err != nil {
			return err
		}
	}
	return nil
}

func (s *statements) close() error {
	var errs []error
	for _, st := range []*sql.Stmt{s.batch, s.record, s.checkpoint, s.raise, s.drop, s.command} {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	return errors.Join(errs...)
}

// doubt is a commit that failed in a way that leaves open whether it is kept.
type doubt struct {
	at         Position
	boot       uint64
	mono       int64
	frames     int
	records    int
	isResolved bool // the disk was asked, and has it
}

// Append keeps c in one transaction and returns its place, when it is on the
// disk. After an error nothing of c is promised: call Append again with the same
// c before anything newer. If it turns out that the first call's commit was
// kept and only its answer lost, the second changes nothing. It blocks for the
// time of the disk, and for at most one short transaction of Forget or Tidy.
func (o *Outbox) Append(c Commit) (Position, error) {
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.found(); err != nil {
		return 0, fmt.Errorf("keep a commit: %w", err)
	}
	if at, kept, err := o.resolve(&c); kept || err != nil {
		return at, err
	}
	o.raw = appendFrames(o.raw[:0], c.Frames, c.Wall)
	o.enc = packFrames(o.enc[:0], o.raw)
	o.look(c.Mono)
	at, err := o.append(&c)
	if sqlite.Full(err) {
		if at, kept, err := o.resolve(&c); kept || err != nil {
			return at, err
		}
		if roomErr := o.makeRoom(&c); roomErr != nil {
			return 0, fmt.Errorf("make room for a commit: %w", o.damaged(errors.Join(err, roomErr)))
		}
		at, err = o.append(&c)
	}
	if err != nil {
		return 0, fmt.Errorf("keep a commit: %w", o.damaged(err))
	}
	return at, nil
}

func (o *Outbox) append(c *Commit) (Position, error) {
	next := o.state()
	at := next.last + 1
	err := o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		if err := o.giveWay(tx, &next, c.ageAt(), cost(o.enc, c.Records)); err != nil {
			return err
		}
		if err := next.stamp(tx, c); err != nil {
			return err
		}
		return o.insert(tx, &next, c)
	})
	if err == nil && o.opt.Kept != nil {
		err = o.opt.Kept()
	}
	if err != nil {
		o.doubt = &doubt{at: at, boot: c.Boot, mono: c.Mono, frames: len(c.Frames), records: len(c.Records)}
		return 0, err
	}
	o.doubt = nil
	o.adopt(next, c.Commands, c.Wall)
	return at, nil
}

// found is the damage that was found, nil when there is none.
func (o *Outbox) found() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bad
}

// state is a copy to work on. The holder of write is the only one who replaces it.
func (o *Outbox) state() state {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s
}

// adopt makes next the state; asked may have moved meanwhile.
func (o *Outbox) adopt(next state, commands []string, wall int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range next.lanes {
		next.lanes[i].asked = max(next.lanes[i].asked, o.s.lanes[i].asked)
	}
	o.s = next
	for _, id := range commands {
		o.seen[id] = wall
	}
}

// resolve asks the disk whether the commit before, whose answer was an error, is
// there, and whether c is that commit.
func (o *Outbox) resolve(c *Commit) (Position, bool, error) {
	d := o.doubt
	if d == nil {
		return 0, false, nil
	}
	if !d.isResolved {
		s, err := readState(o.db.Read)
		if err != nil {
			return 0, false, fmt.Errorf("ask whether a commit was kept: %w", o.damaged(err))
		}
		if s.last < d.at {
			o.doubt = nil
			return 0, false, nil
		}
		seen, err := readCommands(o.db.Read)
		if err != nil {
			return 0, false, fmt.Errorf("ask whether a commit was kept: %w", o.damaged(err))
		}
		o.mu.Lock()
		o.seen, s.evicted = seen, o.s.evicted
		o.mu.Unlock()
		o.adopt(s, nil, 0)
		d.isResolved = true
	}
	o.doubt = nil
	same := d.boot == c.Boot && d.mono == c.Mono && d.frames == len(c.Frames) && d.records == len(c.Records)
	return d.at, same, nil
}

func cost(frames []byte, rs []Record) int64 {
	n := int64(len(frames)) + sealOverhead + batchOverhead
	for i := range rs {
		n += int64(len(rs[i].Payload)) + sealOverhead + recordOverhead
	}
	return n
}

func (o *Outbox) insert(tx *sql.Tx, s *state, c *Commit) error {
	if err := o.insertBatch(tx, s, c); err != nil {
		return err
	}
	if err := o.insertRecords(tx, s, c.Records); err != nil {
		return err
	}
	raise, drop := tx.Stmt(o.st.raise), tx.Stmt(o.st.drop)
	for _, e := range c.Episodes {
		var err error
		if e.Open {
			o.sealed = o.seal.close(o.sealed[:0], episodeRow(e.ID), e.State)
			_, err = raise.Exec(e.ID, e.Untold, o.seal.with, o.sealed)
		} else {
			_, err = drop.Exec(e.ID)
		}
		if err != nil {
			return fmt.Errorf("episode %s: %w", e.ID, err)
		}
	}
	for _, id := range c.Commands {
		if _, err := tx.Stmt(o.st.command).Exec(id, c.Wall); err != nil {
			return fmt.Errorf("command %s: %w", id, err)
		}
	}
	if c.Checkpoint == nil {
		return nil
	}
	s.checkpoint = s.last
	o.sealed = o.seal.close(o.sealed[:0], checkpointRow(s.last), c.Checkpoint)
	if _, err := tx.Stmt(o.st.checkpoint).Exec(int64(s.last), o.seal.with, o.sealed); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

func (o *Outbox) insertBatch(tx *sql.Tx, s *state, c *Commit) error {
	s.last++
	o.sealed = o.seal.close(o.sealed[:0], batchRow(s.last), o.enc)
	s.frameTotal += int64(len(o.sealed)) + batchOverhead
	s.lastWall = c.Wall
	if s.first == 0 || s.first == s.last {
		s.first, s.firstWall = s.last, c.Wall
	}
	_, err := tx.Stmt(o.st.batch).Exec(int64(s.last), int64(c.Boot), c.Mono, c.Wall, c.Synchronised, s.frameTotal, o.seal.with, o.sealed)
	if err != nil {
		return fmt.Errorf("batch %d: %w", s.last, err)
	}
	return nil
}

func (o *Outbox) insertRecords(tx *sql.Tx, s *state, rs []Record) error {
	if len(rs) == 0 {
		return nil
	}
	insert := tx.Stmt(o.st.record)
	for i := range rs {
		r := &rs[i]
		if !r.Lane.Valid() {
			return fmt.Errorf("a record for %v", r.Lane)
		}
		l := &s.lanes[r.Lane]
		next := link.Record{Seq: l.last.seq + 1, Kind: r.Kind, Observed: r.Observed, Payload: r.Payload}
		if err := o.insertRecord(insert, r.Lane, l, next, l.last.hash.Next(next), s.clock.id); err != nil {
			return err
		}
	}
	return nil
}

// insertRecord puts r at the lane's end; hash is the lane's after it.
func (o *Outbox) insertRecord(insert *sql.Stmt, id link.Lane, l *lane, r link.Record, hash link.Hash, clock int64) error {
	o.sealed = o.seal.close(o.sealed[:0], recordRow(int64(id), r.Seq), r.Payload)
	if o.sealed == nil {
		o.sealed = []byte{} // a nil slice would be NULL
	}
	total := l.last.total + int64(len(o.sealed)) + recordOverhead
	if l.gone.seq == l.last.seq {
		l.oldest = r.Observed
	}
	_, err := insert.Exec(int64(id), int64(r.Seq), int64(r.Kind), r.Observed, hash[:], total, clock, o.seal.with, o.sealed)
	if err != nil {
		return fmt.Errorf("record %d of %v: %w", r.Seq, id, err)
	}
	l.last = end{r.Seq, hash, total}
	return nil
}
