package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/sqlite"
)

// Salvage is what was taken over from a damaged predecessor.
type Salvage struct {
	From     string // the file
	Episodes int    // open ones, for a start
	Batches  int    // of frames after the checkpoint, for a start
	Records  int64  // for the cloud
	Lost     int64  // records that could not be read, each declared in a hole
	Done     bool
}

// startWithin is how long the reading of what a start needs may take: the ward is
// not watched meanwhile.
const startWithin = time.Second

// salvageAtOnce is how many records are taken over in one transaction, and
// salvageSkip how far a scan goes on beyond what cannot be read before it takes
// the lane for ended.
const (
	salvageAtOnce = 256
	salvageSkip   = 1 << 20
)

// succeed begins to take over what the damaged file holds. What a start needs is
// read now, records by Run. What cannot be read is left: the file stays aside.
func (o *Outbox) succeed(aside string, start bool) error {
	s := &Salvage{From: aside}
	o.salvaged = s
	old, err := sqlite.Peek(aside)
	if err != nil {
		s.Done = true
		return nil
	}
	defer old.Close()
	return o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO salvage (path, lane, through) VALUES ($1, $2, $3)`,
			filepath.Base(aside), int64(link.Lanes[0]), int64(ackedThen(old, link.Lanes[0])))
		if err != nil || !start {
			return err
		}
		return o.takeStart(tx, old, s)
	})
}

// ackedThen is how far the cloud had a lane; 0 when that cannot be read, since
// what is sent twice is taken once.
func ackedThen(old *sql.DB, id link.Lane) (seq uint64) {
	if old.QueryRow(`SELECT max(through, acked) FROM gone WHERE lane = $1`, int64(id)).Scan(&seq) != nil {
		return 0
	}
	return seq
}

// takeStart copies open episodes, the checkpoint and the batches after it, as far
// as they can be read in time. Without the checkpoint its batches are of no use.
func (o *Outbox) takeStart(tx *sql.Tx, old *sql.DB, s *Salvage) error {
	until := time.Now().Add(startWithin)
	for _, e := range readable(old, until, `SELECT id, sealed_with, state FROM episode ORDER BY id`, func(rows *sql.Rows) (e Episode, err error) {
		var with int64
		if err = rows.Scan(&e.ID, &with, &e.State); err == nil {
			e.State, err = o.seal.open(episodeRow(e.ID), with, e.State)
		}
		return e, err
	}) {
		if _, err := tx.Stmt(o.st.raise).Exec(e.ID, true, o.seal.with, o.seal.close(nil, episodeRow(e.ID), e.State)); err != nil {
			return err
		}
		s.Episodes++
	}
	var at Position
	var with int64
	var checkpoint []byte
	if old.QueryRow(`SELECT batch, sealed_with, state FROM checkpoint`).Scan(&at, &with, &checkpoint) != nil {
		return nil
	}
	checkpoint, err := o.seal.open(checkpointRow(at), with, checkpoint)
	if err != nil {
		return nil
	}
	if _, err := tx.Stmt(o.st.checkpoint).Exec(int64(at), o.seal.with, o.seal.close(nil, checkpointRow(at), checkpoint)); err != nil {
		return err
	}
	return o.takeBatches(tx, old, at, until, s)
}

// takeBatches copies the batch of a checkpoint, whose number the next one goes on
// from, and those after it.
func (o *Outbox) takeBatches(tx *sql.Tx, old *sql.DB, at Position, until time.Time, s *Salvage) error {
	type oldBatch struct {
		Batch
		with   int64
		frames []byte
	}
	page := readable(old, until, `SELECT n, boot, mono, wall, synchronised, sealed_with, frames FROM batch WHERE n >= `+fmt.Sprint(int64(at))+` ORDER BY n`,
		func(rows *sql.Rows) (b oldBatch, err error) {
			var boot int64
			if err = rows.Scan(&b.Position, &boot, &b.Mono, &b.Wall, &b.Synchronised, &b.with, &b.frames); err == nil {
				b.Boot = uint64(boot)
				b.frames, err = o.seal.open(batchRow(b.Position), b.with, b.frames)
			}
			return b, err
		})
	next := o.state()
	next.checkpoint = at
	if len(page) == 0 || page[0].Position != at { // the numbers must go on beyond the checkpoint's
		page = append([]oldBatch{{Batch: Batch{Position: at}, frames: appendFrames(nil, nil, 0)}}, page...)
	}
	for _, b := range page {
		sealed := o.seal.close(nil, batchRow(b.Position), b.frames)
		next.frameTotal += int64(len(sealed)) + batchOverhead
		if next.last = b.Position; next.first == 0 {
			next.first, next.firstWall = b.Position, b.Wall
		}
		_, err := tx.Stmt(o.st.batch).Exec(int64(b.Position), int64(b.Boot), b.Mono, b.Wall, b.Synchronised, next.frameTotal, o.seal.with, sealed)
		if err != nil {
			return err
		}
		s.Batches++
	}
	o.adopt(next, nil, 0)
	return nil
}

// readable is what can be read of a query's rows until an instant.
func readable[T any](old *sql.DB, until time.Time, query string, scan func(*sql.Rows) (T, error)) (out []T) {
	rows, err := old.Query(query)
	if err != nil {
		return nil
	}
	defer rows.Close()
	for rows.Next() && time.Now().Before(until) {
		if x, err := scan(rows); err == nil {
			out = append(out, x)
		}
	}
	return out
}

// takeOver goes on with the records of damaged predecessors until all that can be
// read of them is here: alerts first, a few a transaction, and where it stands in
// the same transaction, so that each is taken over once.
func (o *Outbox) takeOver(ctx context.Context) error {
	for ctx.Err() == nil {
		var id int64
		var name string
		err := o.db.Read.QueryRow(`SELECT id, path FROM salvage WHERE done = 0 ORDER BY id LIMIT 1`).Scan(&id, &name)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("take over records: %w", o.damaged(err))
		}
		if err := o.takeOverFrom(ctx, id, filepath.Join(o.dir, name)); err != nil {
			return fmt.Errorf("take over records of %s: %w", name, o.damaged(err))
		}
	}
	return nil
}

func (o *Outbox) takeOverFrom(ctx context.Context, id int64, path string) error {
	old, err := sqlite.Peek(path)
	if err != nil { // it is gone, or nothing of it can be read
		_, err := o.db.Write.Exec(`UPDATE salvage SET done = 1 WHERE id = $1`, id)
		return err
	}
	defer old.Close()
	for ctx.Err() == nil {
		if done, err := o.takeRecords(old, id); err != nil || done {
			return err
		}
	}
	return nil
}

// takeRecords takes over one stretch of records.
func (o *Outbox) takeRecords(old *sql.DB, id int64) (done bool, err error) {
	o.write.Lock()
	defer o.write.Unlock()
	if err := o.settle(); err != nil {
		return false, err
	}
	next := o.state()
	var s Salvage
	err = o.db.Tx(context.Background(), func(tx *sql.Tx) error {
		var lane link.Lane
		var through uint64
		if err := tx.QueryRow(`SELECT path, lane, through, taken, lost FROM salvage WHERE id = $1`, id).
			Scan(&s.From, &lane, &through, &s.Records, &s.Lost); err != nil {
			return err
		}
		s.From = filepath.Join(o.dir, s.From)
		page := o.oldRecords(old, lane, through)
		for _, r := range page {
			if lost := r.Seq - through - 1; lost > 0 {
				if err := o.insertHole(tx, &next, lane, lost, r.Observed); err != nil {
					return err
				}
				s.Lost += int64(lost)
			}
			if err := o.insertRecords(tx, &next, []Record{{Lane: lane, Kind: r.Kind, Observed: r.Observed, Payload: r.Payload}}); err != nil {
				return err
			}
			through = r.Seq
			s.Records++
		}
		if len(page) == 0 {
			if lane == link.Lanes[len(link.Lanes)-1] {
				s.Done = true
			} else {
				lane++
				through = ackedThen(old, lane)
			}
		}
		_, err := tx.Exec(`UPDATE salvage SET lane = $1, through = $2, taken = $3, lost = $4, done = $5 WHERE id = $6`,
			int64(lane), int64(through), s.Records, s.Lost, s.Done, id)
		return err
	})
	if err != nil {
		return false, err
	}
	o.adopt(next, nil, 0)
	o.mu.Lock()
	if was := o.salvaged; was != nil {
		s.Episodes, s.Batches = was.Episodes, was.Batches
	}
	o.salvaged = &s
	o.mu.Unlock()
	return s.Done, nil
}

// insertHole puts a hole over n records that are lost at the lane's end.
func (o *Outbox) insertHole(tx *sql.Tx, s *state, id link.Lane, n uint64, observed int64) error {
	l := &s.lanes[id]
	at := max(observed, 1)
	r := link.Record{Seq: l.last.seq + n, Kind: link.HoleKind, Observed: at}
	hash := l.last.hash.Next(r)
	r, err := link.NewHole(&linkpb.Hole{
		From: l.last.seq + 1, To: r.Seq, Hash: hash[:], ObservedFrom: at, ObservedTo: at, Kind: id.String(), Reason: "damaged",
	}, at)
	if err != nil {
		return err
	}
	return o.insertRecord(tx.Stmt(o.st.record), id, l, r, hash, s.clock.id)
}

// oldRecords reads on after a seq, beyond what cannot be read; none is the end.
func (o *Outbox) oldRecords(old *sql.DB, id link.Lane, after uint64) []link.Record {
	for skip := uint64(0); skip <= salvageSkip; skip = 2*skip + 1 {
		page, whole := o.oldPage(old, id, after+skip)
		if len(page) > 0 || whole {
			return page
		}
	}
	return nil
}

// oldPage reads as many as it can; whole says that none failed.
func (o *Outbox) oldPage(old *sql.DB, id link.Lane, after uint64) (page []link.Record, whole bool) {
	rows, err := old.Query(`SELECT seq, kind, observed, sealed_with, payload FROM record WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3`,
		int64(id), int64(after), salvageAtOnce)
	if err != nil {
		return nil, false
	}
	defer rows.Close()
	whole = true
	for rows.Next() {
		var r link.Record
		var with int64
		if err := rows.Scan(&r.Seq, &r.Kind, &r.Observed, &with, &r.Payload); err != nil {
			return page, false
		}
		payload, err := o.seal.open(recordRow(int64(id), r.Seq), with, r.Payload)
		if err != nil || r.Kind == link.HoleKind || len(payload) > link.MaxPayload {
			whole = false // what is a hole there, or was changed, is one here
			continue
		}
		r.Payload = payload
		page = append(page, r)
	}
	return page, whole && rows.Err() == nil
}
