package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"wardline/shared/link"
)

// Renumber begins a new epoch, in one transaction: everything held is numbered
// from 1, in order, with new hashes. It is for when the cloud knows another
// history of this epoch than this disk does. Append waits for it: about a second
// for every 50,000 records held.
func (o *Outbox) Renumber() error {
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.settle(); err != nil {
		return fmt.Errorf("renumber: %w", err)
	}
	next := o.state()
	next.epoch = newEpoch()
	err := o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		if _, err := tx.Exec(`UPDATE life SET epoch = $1`, next.epoch[:]); err != nil {
			return err
		}
		for _, id := range link.Lanes {
			if err := next.lanes[id].renumber(tx, id); err != nil {
				return fmt.Errorf("%v: %w", id, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("renumber: %w", o.damaged(err))
	}
	o.mu.Lock()
	o.s = next // asked, too, is in the new numbers
	o.mu.Unlock()
	return nil
}

// renumber numbers a lane's rows from 1. A hole goes on covering as many. Seqs
// only become smaller, and in order, so none meets another on the way.
func (l *lane) renumber(tx *sql.Tx, id link.Lane) error {
	update, err := tx.Prepare(`UPDATE record SET seq = $1, hash = $2, payload = $3 WHERE lane = $4 AND seq = $5`)
	if err != nil {
		return err
	}
	defer update.Close()
	now := lane{evicted: l.evicted, oldest: l.oldest}
	now.gone.total, now.last.total = l.gone.total, l.last.total
	before := l.gone.seq
	for {
		page, err := renumberPage(tx, id, before)
		if err != nil {
			return err
		}
		for _, r := range page {
			was := r.Seq
			r.Seq = now.last.seq + (was - before)
			before = was
			if now.last.hash, err = renumbered(&r, now.last); err != nil {
				return err
			}
			now.last.seq = r.Seq
			if _, err := update.Exec(int64(r.Seq), now.last.hash[:], r.Payload, int64(id), int64(was)); err != nil {
				return err
			}
		}
		if len(page) < recordsAtOnce {
			break
		}
	}
	*l = now
	return l.saveGone(tx, id)
}

func renumberPage(tx *sql.Tx, id link.Lane, after uint64) ([]link.Record, error) {
	rows, err := tx.Query(`SELECT seq, kind, observed, payload FROM record WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
		int64(id), int64(after), recordsAtOnce)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []link.Record
	for rows.Next() {
		var r link.Record
		if err := rows.Scan(&r.Seq, &r.Kind, &r.Observed, &r.Payload); err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// renumbered is the running hash after r under its new seq; a hole's payload,
// which names what it covers, is written anew.
func renumbered(r *link.Record, before end) (link.Hash, error) {
	hash := before.hash.Next(*r)
	if r.Kind != link.HoleKind {
		return hash, nil
	}
	h, err := link.ReadHole(*r)
	if err != nil {
		return hash, err
	}
	h.From, h.To, h.Hash = before.seq+1, r.Seq, hash[:]
	hole, err := link.NewHole(h, r.Observed)
	r.Payload = hole.Payload
	return hash, err
}
