package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

func (l lane) bytes() int64 { return l.last.total - l.gone.total }

// owed is what of it the cloud does not have, in bytes.
func (l lane) owed() int64 { return l.last.total - max(l.acked.total, l.gone.total) }

// oldestOwed is about when the oldest record was observed that the cloud does not
// have, 0 when it has all.
func (l lane) oldestOwed() int64 {
	if max(l.gone.seq, l.asked) >= l.last.seq {
		return 0
	}
	return l.oldest
}

func (l lane) state(id link.Lane) link.LaneState {
	return link.LaneState{Lane: id, Kept: l.gone.seq + 1, First: max(l.gone.seq, l.asked) + 1, Last: l.last.seq, Hash: l.last.hash}
}

// alerts is what alerts and status take that the cloud does not have, in bytes.
func (s *state) alerts() int64 { return s.lanes[link.Alerts].owed() + s.lanes[link.Status].owed() }

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
// the last that it covers. What is not here any more because the cloud once had
// it, and what the medium changed, comes as a hole too.
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
	if l := o.state().lanes[id]; seq < l.gone.seq {
		hole, err := l.forgotten(id, seq)
		return []link.Record{hole}, err
	}
	out, bad, err := o.readAfter(id, seq, maxBytes)
	if err != nil || len(out) > 0 || bad == 0 {
		return out, err
	}
	if err := o.replaceTorn(id, bad); err != nil {
		return nil, err
	}
	out, _, err = o.readAfter(id, seq, maxBytes)
	return out, err
}

// forgotten is the hole from seq to where the lane's records begin.
func (l lane) forgotten(id link.Lane, seq uint64) (link.Record, error) {
	at := max(l.oldest, 1)
	return link.NewHole(&linkpb.Hole{
		From: seq + 1, To: l.gone.seq, Hash: l.gone.hash[:], ObservedFrom: at, ObservedTo: at, Kind: id.String(), Reason: "forgotten by the cloud",
	}, at)
}

// readAfter reads up to the first row that the medium changed, which is bad; 0
// means that there is none. A commit whose answer was lost may have left rows
// behind the lane's end: they are given once it is known that they are kept.
func (o *Outbox) readAfter(id link.Lane, seq uint64, maxBytes int) (out []link.Record, bad uint64, err error) {
	rows, err := o.db.Read.Query(`SELECT seq, kind, observed, sealed_with, payload FROM record WHERE lane = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4`,
		int64(id), int64(seq), int64(o.state().lanes[id].last.seq), link.MaxRecords)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var r link.Record
		var with int64
		if err := rows.Scan(&r.Seq, &r.Kind, &r.Observed, &with, &r.Payload); err != nil {
			return nil, 0, err
		}
		if r.Payload, err = o.seal.open(recordRow(int64(id), r.Seq), with, r.Payload); err != nil {
			return out, r.Seq, nil
		}
		maxBytes -= r.Size()
		if maxBytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, r)
	}
	return out, 0, rows.Err()
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
// them. Alerts stay as copies for as long as Options say; other rows go with the
// next Append, or now when they are many, in short transactions; a crash before
// that makes the gateway offer them again, which is harmless. A through beyond
// the last record is an error and changes nothing.
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
	many := l.asked-l.acked.seq >= forgetAtOnce
	o.mu.Unlock()
	if !many {
		return nil
	}
	if err := o.sweep(); err != nil {
		return fmt.Errorf("forget %v through %d: %w", id, through, err)
	}
	return nil
}

// Owe says that the cloud has a lane only up to through, although it had said
// that it has more: what follows is owed again, as far as it is still here.
func (o *Outbox) Owe(id link.Lane, through uint64) error {
	if !id.Valid() {
		return fmt.Errorf("owe: no such lane")
	}
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.settle(); err != nil {
		return fmt.Errorf("owe %v from %d: %w", id, through, err)
	}
	next := o.state()
	l := &next.lanes[id]
	l.asked = max(through, l.gone.seq)
	err := o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		if err := l.mark(tx, id, l.asked); err != nil {
			return err
		}
		return l.saveGone(tx, id)
	})
	if err != nil {
		return fmt.Errorf("owe %v from %d: %w", id, through, o.damaged(err))
	}
	o.mu.Lock()
	o.s.lanes[id] = *l
	o.mu.Unlock()
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
		more, err = o.forget(tx, &next, 0)
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

// forget writes down what of each lane the cloud has, up to forgetAtOnce
// records, and deletes it: alerts when they are older at wall than they are kept.
func (o *Outbox) forget(tx *sql.Tx, s *state, wall int64) (more bool, err error) {
	for _, id := range link.Lanes {
		l := &s.lanes[id]
		before := int64(math.MaxInt64)
		if id == link.Alerts {
			before = wall - o.opt.KeepAlerts.Microseconds()
		}
		if l.asked <= l.acked.seq && !l.isOld(before) {
			continue
		}
		was := l.acked.seq
		if err := l.forget(tx, id, before); err != nil {
			return false, fmt.Errorf("forget %v: %w", id, err)
		}
		more = more || was < l.acked.seq && l.acked.seq < l.asked
	}
	return more, nil
}

// isOld says whether the lane begins with what the cloud has and is from before
// an instant. What has no date is not old.
func (l *lane) isOld(before int64) bool {
	return l.acked.seq > l.gone.seq && l.oldest >= aSetClock && l.oldest < before
}

func (l *lane) forget(tx *sql.Tx, id link.Lane, before int64) error {
	if err := l.mark(tx, id, min(l.asked, l.acked.seq+forgetAtOnce)); err != nil {
		return err
	}
	if err := l.drop(tx, id, before); err != nil {
		return err
	}
	return l.saveGone(tx, id)
}

// mark moves acked to the last row up to a seq. When that lies inside a hole it
// is the row before the hole, so that the hole is sent whole.
func (l *lane) mark(tx *sql.Tx, id link.Lane, to uint64) error {
	at := end{seq: l.gone.seq, total: l.gone.total}
	err := tx.QueryRow(`SELECT seq, total FROM record WHERE lane = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1`,
		int64(id), int64(to)).Scan(&at.seq, &at.total)
	if errors.Is(err, sql.ErrNoRows) && to < l.asked { // a long hole
		err = tx.QueryRow(`SELECT seq, total FROM record WHERE lane = $1 AND seq <= $2 ORDER BY seq LIMIT 1`,
			int64(id), int64(l.asked)).Scan(&at.seq, &at.total)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	l.acked = at
	return nil
}

// drop deletes the lane's first rows, as far as the cloud has them and they were
// observed before an instant: at most forgetAtOnce seqs, or one row.
func (l *lane) drop(tx *sql.Tx, id link.Lane, before int64) error {
	to := l.acked.seq
	if before != math.MaxInt64 {
		if !l.isOld(before) {
			return nil
		}
		to = min(to, l.gone.seq+forgetAtOnce)
		var stays uint64
		err := tx.QueryRow(`SELECT seq FROM record WHERE lane = $1 AND seq <= $2 AND observed >= $3 ORDER BY seq LIMIT 1`,
			int64(id), int64(to), before).Scan(&stays)
		if err == nil {
			to = stays - 1
		} else if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	var gone end
	var hash []byte
	err := tx.QueryRow(`SELECT seq, hash, total FROM record WHERE lane = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1`,
		int64(id), int64(to)).Scan(&gone.seq, &hash, &gone.total)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	copy(gone.hash[:], hash)
	if _, err := tx.Exec(`DELETE FROM record WHERE lane = $1 AND seq <= $2`, int64(id), int64(gone.seq)); err != nil {
		return err
	}
	l.gone = gone
	return l.readOldest(tx, id)
}

func (l *lane) saveGone(tx *sql.Tx, id link.Lane) error {
	_, err := tx.Exec(`INSERT INTO gone (lane, through, hash, total, evicted, acked, acked_total) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (lane) DO UPDATE SET through = excluded.through, hash = excluded.hash, total = excluded.total,
			evicted = excluded.evicted, acked = excluded.acked, acked_total = excluded.acked_total`,
		int64(id), int64(l.gone.seq), l.gone.hash[:], l.gone.total, l.evicted, int64(l.acked.seq), l.acked.total)
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
