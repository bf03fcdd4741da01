package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"wardline/shared/link"
)

func (l lane) bytes() int64 { return l.last.total - l.gone.total }

func (l lane) state(id link.Lane) link.LaneState {
	return link.LaneState{Lane: id, First: max(l.gone.seq, l.asked) + 1, Last: l.last.seq, Hash: l.last.hash}
}

// bytes is what everything takes.
func (s *state) bytes() int64 {
	n := s.frameTotal - s.frameGone
	for i := range s.lanes {
		n += s.lanes[i].bytes()
	}
	return n
}

// Epoch is this outbox's life: random, made with the file and by Renumber.
func (o *Outbox) Epoch() [16]byte { return o.state().epoch }

// Lanes is what is held of every lane.
func (o *Outbox) Lanes() []link.LaneState {
	s := o.state()
	out := make([]link.LaneState, 0, len(link.Lanes))
	for _, id := range link.Lanes {
		out = append(out, s.lanes[id].state(id))
	}
	return out
}

// After reads a lane's records that follow seq, in order: as many as fit into
// maxBytes (by Record.Size), and at least one when there is any. A hole's seq is
// the last that it covers.
func (o *Outbox) After(id link.Lane, seq uint64, maxBytes int) ([]link.Record, error) {
	out, err := o.after(id, seq, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("read %v after %d: %w", id, seq, o.damaged(err))
	}
	return out, nil
}

func (o *Outbox) after(id link.Lane, seq uint64, maxBytes int) ([]link.Record, error) {
	if !id.Valid() {
		return nil, fmt.Errorf("no such lane")
	}
	seq = max(seq, o.state().lanes[id].asked)
	rows, err := o.db.Read.Query(`SELECT seq, kind, observed, payload FROM record WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
		int64(id), int64(seq), link.MaxRecords)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []link.Record
	for rows.Next() {
		var r link.Record
		if err := rows.Scan(&r.Seq, &r.Kind, &r.Observed, &r.Payload); err != nil {
			return nil, err
		}
		maxBytes -= r.Size()
		if maxBytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// HashAt is a lane's running hash after seq, when it is known: for what is held,
// for the last that was forgotten, and for 0 in a lane that never forgot.
func (o *Outbox) HashAt(id link.Lane, seq uint64) (link.Hash, bool) {
	if !id.Valid() {
		return link.Hash{}, false
	}
	l := o.state().lanes[id]
	switch {
	case seq == l.last.seq:
		return l.last.hash, true
	case seq == l.gone.seq:
		return l.gone.hash, true
	case seq < l.gone.seq || seq > l.last.seq:
		return link.Hash{}, false
	}
	var hash []byte
	err := o.db.Read.QueryRow(`SELECT hash FROM record WHERE lane = $1 AND seq = $2`, int64(id), int64(seq)).Scan(&hash)
	if err != nil || len(hash) != len(link.Hash{}) {
		return link.Hash{}, false // inside a hole, or unreadable: not known
	}
	return link.Hash(hash), true
}

// forgetAtOnce is how many forgotten records make Forget delete them itself
// rather than leave them to the next Append's transaction, which costs no
// write of its own.
const forgetAtOnce = 1024

// Forget lets go of a lane's records up to and including through: the cloud has
// them. Reads no longer return them. The rows go with the next Append, or now
// when they are many, in short transactions; a crash before that makes the
// gateway offer them again, which is harmless. A through beyond the last
// record is an error and changes nothing.
func (o *Outbox) Forget(id link.Lane, through uint64) error {
	if !id.Valid() {
		return fmt.Errorf("forget: no such lane")
	}
	o.mu.Lock()
	l := &o.s.lanes[id]
	if through > l.last.seq {
		last := l.last.seq
		o.mu.Unlock()
		return fmt.Errorf("forget %v through %d: its last is %d", id, through, last)
	}
	l.asked = max(l.asked, through)
	many := l.asked-l.gone.seq >= forgetAtOnce
	o.mu.Unlock()
	if !many {
		return nil
	}
	if err := o.sweep(); err != nil {
		return fmt.Errorf("forget %v through %d: %w", id, through, err)
	}
	return nil
}

// sweep deletes what was forgotten, a chunk a transaction, and lets Append in between.
func (o *Outbox) sweep() error {
	for {
		more, err := o.sweepChunk()
		if err != nil || !more {
			return err
		}
	}
}

func (o *Outbox) sweepChunk() (more bool, err error) {
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.settle(); err != nil {
		return false, err
	}
	next := o.state()
	err = o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		var err error
		more, err = forget(tx, &next)
		return err
	})
	if err != nil {
		return false, o.damaged(err)
	}
	o.adopt(next, nil, 0)
	return more, nil
}

// settle makes sure that the state in memory is that on the disk.
func (o *Outbox) settle() error {
	if o.doubt == nil || o.doubt.isResolved {
		return nil
	}
	d := *o.doubt
	if _, _, err := o.resolve(&Commit{}); err != nil {
		return err
	}
	if d.at <= o.state().last {
		d.isResolved = true
		o.doubt = &d // the caller of Append still has to be told
	}
	return nil
}

// forget deletes up to forgetAtOnce rows of each lane that the cloud has.
func forget(tx *sql.Tx, s *state) (more bool, err error) {
	for _, id := range link.Lanes {
		l := &s.lanes[id]
		if l.asked <= l.gone.seq {
			continue
		}
		left, err := l.forget(tx, id)
		if err != nil {
			return false, fmt.Errorf("forget %v: %w", id, err)
		}
		more = more || left
	}
	return more, nil
}

// forget moves the lane's beginning to a row that the cloud has. When asked lies
// inside a hole, the rows before the hole go and the hole stays.
func (l *lane) forget(tx *sql.Tx, id link.Lane) (more bool, err error) {
	to := min(l.asked, l.gone.seq+forgetAtOnce)
	var gone end
	var hash []byte
	err = tx.QueryRow(`SELECT seq, hash, total FROM record WHERE lane = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1`,
		int64(id), int64(to)).Scan(&gone.seq, &hash, &gone.total)
	if errors.Is(err, sql.ErrNoRows) && to < l.asked { // a long hole
		err = tx.QueryRow(`SELECT seq, hash, total FROM record WHERE lane = $1 AND seq <= $2 ORDER BY seq LIMIT 1`,
			int64(id), int64(l.asked)).Scan(&gone.seq, &hash, &gone.total)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	copy(gone.hash[:], hash)
	if _, err := tx.Exec(`DELETE FROM record WHERE lane = $1 AND seq <= $2`, int64(id), int64(gone.seq)); err != nil {
		return false, err
	}
	l.gone = gone
	if err := l.saveGone(tx, id); err != nil {
		return false, err
	}
	return gone.seq < l.asked, l.readOldest(tx, id)
}

func (l *lane) saveGone(tx *sql.Tx, id link.Lane) error {
	_, err := tx.Exec(`INSERT INTO gone (lane, through, hash, total, evicted) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (lane) DO UPDATE SET through = excluded.through, hash = excluded.hash, total = excluded.total, evicted = excluded.evicted`,
		int64(id), int64(l.gone.seq), l.gone.hash[:], l.gone.total, l.evicted)
	return err
}

func (l *lane) readOldest(tx *sql.Tx, id link.Lane) error {
	l.oldest = 0
	err := tx.QueryRow(`SELECT observed FROM record WHERE lane = $1 ORDER BY seq LIMIT 1`, int64(id)).Scan(&l.oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
