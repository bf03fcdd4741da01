package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// Renumber begins a new epoch, in one transaction: everything held is numbered
// from 1, in order, with new hashes, and is owed. It is for when the cloud knows
// another history of this epoch than this disk does. Append waits for it: about a
// second for every 50,000 records held.
func (o *Outbox) Renumber() error {
	if _, err := o.rewrite(nil); err != nil {
		return fmt.Errorf("renumber: %w", err)
	}
	return nil
}

// Change is a record as it is to be instead; fix sets a wrong wall time right.
type Change func(kind link.Kind, observed int64, payload []byte, fix func(int64) int64) (int64, []byte, error)

// Correct changes the records that the cloud does not have and that were stamped
// by a wrong clock, as Misdated says, and begins a new epoch as Renumber does. What
// change refuses stays as it is. It returns how many were changed; when nothing is
// wrong nothing happens.
func (o *Outbox) Correct(boot uint64, offset, tolerance int64, change Change) (int, error) {
	_, wrong, err := o.Misdated(boot, offset, tolerance)
	if err != nil || !wrong {
		return 0, err
	}
	n, err := o.rewrite(&correction{boot: boot, offset: offset, tolerance: tolerance, change: change})
	if err != nil {
		return 0, fmt.Errorf("correct records: %w", err)
	}
	return n, nil
}

// correction is what Correct changes on the way.
type correction struct {
	boot              uint64
	offset, tolerance int64
	change            Change
	fix               func(int64) int64
	clocks            map[int64]bool // by which what is to be corrected was stamped
	n                 int
}

func (c *correction) readClocks(tx *sql.Tx) error {
	list, err := stretches(tx, c.boot, c.offset, c.tolerance)
	c.fix, c.clocks = fixer(list, c.offset), map[int64]bool{}
	for _, x := range list {
		c.clocks[x.id] = true
	}
	return err
}

// apply changes a record that the cloud does not have.
func (c *correction) apply(r *heldRecord) {
	if c == nil || !c.clocks[r.clock] || r.Kind == link.HoleKind || r.torn {
		return
	}
	observed, payload, err := c.change(r.Kind, r.Observed, r.Payload, c.fix)
	if err != nil {
		return
	}
	r.Observed, r.Payload = observed, payload
	c.n++
}

func (o *Outbox) rewrite(c *correction) (int, error) {
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.settle(); err != nil {
		return 0, err
	}
	next := o.state()
	next.epoch = newEpoch()
	err := o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		if _, err := tx.Exec(`UPDATE life SET epoch = $1`, next.epoch[:]); err != nil {
			return err
		}
		for more := true; more; { // what the cloud has is not to reach it under another number
			var err error
			if more, err = o.forget(tx, &next, 0); err != nil {
				return err
			}
		}
		if c != nil {
			if err := c.readClocks(tx); err != nil {
				return err
			}
		}
		for _, id := range link.Lanes {
			if err := o.renumber(tx, id, &next.lanes[id], c); err != nil {
				return fmt.Errorf("%v: %w", id, err)
			}
		}
		if c == nil {
			return nil
		}
		if c.clocks[next.clock.id] {
			next.clock.state = clockCorrected
		}
		_, err := tx.Exec(`UPDATE clock SET state = $1 WHERE boot = $2 AND state = $3`, clockCorrected, int64(c.boot), clockUnknown)
		return err
	})
	if err != nil {
		return 0, o.damaged(err)
	}
	o.mu.Lock()
	o.s = next // asked, too, is in the new numbers
	o.mu.Unlock()
	if c == nil {
		return 0, nil
	}
	return c.n, nil
}

// heldRecord is a record as it lies there.
type heldRecord struct {
	link.Record
	clock int64
	torn  bool // the medium changed it: it has no payload
}

// renumber numbers a lane's rows from 1. A hole goes on covering as many. Seqs
// only become smaller, and in order, so none meets another on the way.
func (o *Outbox) renumber(tx *sql.Tx, id link.Lane, l *lane, c *correction) error {
	update, err := tx.Prepare(`UPDATE record SET seq = $1, kind = $2, hash = $3, observed = $4, total = $5, sealed_with = $6, payload = $7 WHERE lane = $8 AND seq = $9`)
	if err != nil {
		return err
	}
	defer update.Close()
	now := lane{evicted: l.evicted, oldest: l.oldest}
	now.gone.total, now.last.total = l.gone.total, l.gone.total
	now.acked.total = now.gone.total
	before, asked := l.gone.seq, l.asked
	for {
		page, err := o.renumberPage(tx, id, before)
		if err != nil {
			return err
		}
		for i := range page {
			r := &page[i]
			was := r.Seq
			if was > asked {
				c.apply(r)
			}
			r.Seq = now.last.seq + (was - before)
			before = was
			if now.last.hash, err = r.renumbered(id, now.last); err != nil {
				return err
			}
			now.last.seq = r.Seq
			o.sealed = o.seal.close(o.sealed[:0], recordRow(int64(id), r.Seq), r.Payload)
			if o.sealed == nil {
				o.sealed = []byte{}
			}
			now.last.total += int64(len(o.sealed)) + recordOverhead
			if _, err := update.Exec(int64(r.Seq), int64(r.Kind), now.last.hash[:], r.Observed, now.last.total, o.seal.with, o.sealed, int64(id), int64(was)); err != nil {
				return err
			}
		}
		if len(page) < recordsAtOnce {
			break
		}
	}
	*l = now
	if err := l.readOldest(tx, id); err != nil {
		return err
	}
	return l.saveGone(tx, id)
}

func (o *Outbox) renumberPage(tx *sql.Tx, id link.Lane, after uint64) ([]heldRecord, error) {
	rows, err := tx.Query(`SELECT seq, kind, observed, clock, sealed_with, payload FROM record WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
		int64(id), int64(after), recordsAtOnce)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []heldRecord
	for rows.Next() {
		var r heldRecord
		var with int64
		if err := rows.Scan(&r.Seq, &r.Kind, &r.Observed, &r.clock, &with, &r.Payload); err != nil {
			return nil, err
		}
		r.Payload, err = o.seal.open(recordRow(int64(id), r.Seq), with, r.Payload)
		r.torn = err != nil
		page = append(page, r)
	}
	return page, rows.Err()
}

// renumbered is the running hash after r under its new seq; a hole's payload,
// which names what it covers, is written anew.
func (r *heldRecord) renumbered(id link.Lane, before end) (link.Hash, error) {
	hash := before.hash.Next(r.Record)
	h := &linkpb.Hole{ObservedFrom: max(r.Observed, 1), ObservedTo: max(r.Observed, 1), Kind: id.String(), Reason: "damaged"}
	switch {
	case r.torn:
	case r.Kind != link.HoleKind:
		return hash, nil
	default:
		var err error
		if h, err = link.ReadHole(r.Record); err != nil {
			return hash, err
		}
	}
	h.From, h.To, h.Hash = before.seq+1, r.Seq, hash[:]
	hole, err := link.NewHole(h, r.Observed)
	r.Kind, r.Payload = link.HoleKind, hole.Payload
	return hash, err
}
