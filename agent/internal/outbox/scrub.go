package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
)

// How much the background check reads at once. At one look every tidyEvery, two
// days of frames take less than a day; flash that is read at this pace has time
// for all else.
const (
	scrubBatches = 64
	scrubRecords = 256
)

// scrubAt is where the background check goes on.
type scrubAt struct {
	batch Position
	lane  int // index in link.Lanes
	seq   uint64
}

// tear counts a row that the medium changed.
func (o *Outbox) tear() {
	o.mu.Lock()
	o.torn++
	o.mu.Unlock()
}

// scrub reads the next stretch of what is kept, so that damage is found before a
// restart or the cloud needs it. Damage to the file's structure is its error; a
// record that was changed is replaced by a hole, a batch stays for a technician.
func (o *Outbox) scrub() error {
	page, err := o.framesPageOf(o.scrubAt.batch, scrubBatches)
	if err != nil {
		return fmt.Errorf("check batches after %d: %w", o.scrubAt.batch, err)
	}
	o.scrubAt.batch = 0
	if len(page) == scrubBatches {
		o.scrubAt.batch = page[len(page)-1].Position
	}
	return o.scrubRecords()
}

func (o *Outbox) scrubRecords() error {
	id := link.Lanes[o.scrubAt.lane]
	next, bad, err := o.scrubLane(id, o.scrubAt.seq)
	if err != nil {
		return fmt.Errorf("check %v after %d: %w", id, o.scrubAt.seq, err)
	}
	for _, seq := range bad {
		if err := o.replaceTorn(id, seq); err != nil {
			return fmt.Errorf("check %v: %w", id, err)
		}
	}
	if o.scrubAt.seq = next; next == 0 {
		o.scrubAt.lane = (o.scrubAt.lane + 1) % len(link.Lanes)
	}
	return nil
}

// scrubLane reads records after a seq. next is where to go on, 0 at the end.
func (o *Outbox) scrubLane(id link.Lane, after uint64) (next uint64, bad []uint64, err error) {
	rows, err := o.db.Read.Query(`SELECT seq, sealed_with, payload FROM record WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
		int64(id), int64(after), scrubRecords)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var with int64
		var payload []byte
		if err := rows.Scan(&next, &with, &payload); err != nil {
			return 0, nil, err
		}
		if _, err := o.seal.open(recordRow(int64(id), next), with, payload); err != nil {
			bad = append(bad, next)
		}
	}
	if n < scrubRecords {
		next = 0
	}
	return next, bad, rows.Err()
}

// replaceTorn puts a hole in the place of a record that the medium changed: the
// cloud then knows that it is missing, and what follows can be sent.
func (o *Outbox) replaceTorn(id link.Lane, seq uint64) error {
	o.write.Lock()
	defer o.write.Unlock()
	replaced := false
	err := o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		var hash []byte
		var kind, observed int64
		err := tx.QueryRow(`SELECT kind, observed, hash FROM record WHERE lane = $1 AND seq = $2`, int64(id), int64(seq)).Scan(&kind, &observed, &hash)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // it has gone meanwhile
		}
		if err != nil {
			return err
		}
		from := seq
		if link.Kind(kind) == link.HoleKind { // how far back it went is not known any more but by the row before it
			if err := tx.QueryRow(`SELECT coalesce(max(seq), 0) FROM record WHERE lane = $1 AND seq < $2`, int64(id), int64(seq)).Scan(&from); err != nil {
				return err
			}
			from = max(from, o.state().lanes[id].gone.seq) + 1
		}
		observed = max(observed, 1)
		hole, err := link.NewHole(&linkpb.Hole{
			From: from, To: seq, Hash: hash, ObservedFrom: observed, ObservedTo: observed, Kind: id.String(), Reason: "damaged",
		}, observed)
		if err != nil {
			return err
		}
		replaced = true
		_, err = tx.Exec(`UPDATE record SET kind = $1, sealed_with = $2, payload = $3 WHERE lane = $4 AND seq = $5`,
			int64(link.HoleKind), o.seal.with, o.seal.close(nil, recordRow(int64(id), seq), hole.Payload), int64(id), int64(seq))
		return err
	})
	if err != nil {
		return fmt.Errorf("replace record %d: %w", seq, o.damaged(err))
	}
	if replaced {
		o.tear()
	}
	return nil
}
