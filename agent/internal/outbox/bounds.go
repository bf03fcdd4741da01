package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"syscall"

	"wardline/shared/link"
	"wardline/shared/link/linkpb"
	"wardline/shared/sqlite"
)

// How much gives way in one transaction, so that no commit waits for long. A
// commit brings one batch and a few records, so what is left over goes with the
// next ones.
const (
	batchesAtOnce = 32
	recordsAtOnce = 512
)

// dropEvery is how much older than they are kept for, µs, frames become at most
// before they go.
const dropEvery = 30_000_000

// lookEvery is how often Append asks for the file system's free space, µs.
const lookEvery = 10_000_000

// freeBytes is what the file system of dir has left for this process.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// look lowers the ceiling when the file system has less than Reserve free, not
// counting what the file itself can use again.
func (o *Outbox) look(mono int64) {
	if o.looked != 0 && mono-o.looked < lookEvery && mono >= o.looked {
		return
	}
	o.looked, o.ceiling = mono, o.opt.MaxBytes
	free, err := o.opt.Free()
	if err != nil {
		return // not known: keep to MaxBytes alone
	}
	var pages, size int64
	err = o.db.Read.QueryRow(`SELECT freelist_count, page_size FROM pragma_freelist_count, pragma_page_size`).Scan(&pages, &size)
	if err != nil {
		return
	}
	if lack := o.opt.Reserve - free - pages*size; lack > 0 {
		s := o.state()
		o.ceiling = min(o.ceiling, s.bytes()-lack)
	}
}

// makeRoom is for a commit that the disk had no room for: the write-ahead log is
// cut, and twice what the commit needs gives way, in transactions of its own
// that need little. What they free the commit can use. A disk that is full of
// other things can still be too full for it.
func (o *Outbox) makeRoom(c *Commit) error {
	if _, err := o.db.Checkpoint(context.Background(), true); err != nil && !sqlite.Full(err) {
		return err
	}
	s := o.state()
	o.ceiling = min(o.ceiling, s.bytes()-2*cost(o.enc, c.Records))
	for {
		next := o.state()
		before := next.bytes()
		err := o.db.Tx(context.Background(), func(tx *sql.Tx) error { return o.giveWay(tx, &next, c.ageAt(), 0) })
		if err != nil {
			return err
		}
		o.adopt(next, nil, 0)
		if next.bytes() >= before {
			return nil
		}
	}
}

// aSetClock is a time (2025) before which no gateway was: what claims to be older
// was written by a clock that nobody had set, and has no age.
const aSetClock = 1_735_689_600_000_000

// ageAt is the wall time by which things are too old: 0, so that nothing is, while
// the clock cannot be believed.
func (c *Commit) ageAt() int64 {
	if !c.Synchronised {
		return 0
	}
	return c.Wall
}

// giveWay makes room for a commit that brings more bytes: it deletes what the
// cloud has, what is too old at wall, and then, while everything together is over its
// bytes, frames before the checkpoint, copies of alerts that the cloud has, waves,
// vitals, and at last frames after the checkpoint. Alerts and status that the
// cloud does not have never give way.
func (o *Outbox) giveWay(tx *sql.Tx, s *state, wall, more int64) error {
	if _, err := o.forget(tx, s, wall); err != nil {
		return err
	}
	// Old frames go some at a time: what a delete costs in flash is pages, not rows.
	if old := wall - o.opt.MaxFrameAge.Microseconds(); s.firstWall < old-min(dropEvery, o.opt.MaxFrameAge.Microseconds()/8) {
		if err := o.dropFrames(tx, s, s.checkpoint, old, 0); err != nil {
			return err
		}
	}
	for _, id := range []link.Lane{link.Waves, link.Vitals} {
		l := &s.lanes[id]
		if l.oldest >= aSetClock && l.oldest < wall-o.opt.MaxRecordAge.Microseconds() {
			if err := l.evict(tx, o.seal, id, 0, wall-o.opt.MaxRecordAge.Microseconds(), "age"); err != nil {
				return err
			}
		}
	}
	return o.giveWayToBytes(tx, s, more)
}

func (o *Outbox) giveWayToBytes(tx *sql.Tx, s *state, more int64) error {
	most := min(o.ceiling, o.opt.MaxBytes-max(0, o.opt.Reserve-s.alerts()))
	over := func() int64 { return s.bytes() + more - most }
	if over() <= 0 {
		return nil
	}
	if err := o.dropFrames(tx, s, s.checkpoint, 0, over()+o.opt.MaxBytes/64); err != nil {
		return err
	}
	framesLeft := s.first < min(s.checkpoint, s.last)
	if l := &s.lanes[link.Alerts]; over() > 0 && !framesLeft && l.acked.seq > l.gone.seq {
		if err := l.dropCopies(tx, link.Alerts); err != nil {
			return err
		}
	}
	for _, id := range []link.Lane{link.Waves, link.Vitals} {
		// A hole costs a row, so a little more goes than must.
		if n := over(); n > 0 && s.lanes[id].bytes() > 0 && !framesLeft {
			if err := s.lanes[id].evict(tx, o.seal, id, n+o.opt.MaxBytes/64, 0, "quota"); err != nil {
				return err
			}
		}
	}
	if n := over(); n > 0 && s.lanes[link.Waves].bytes()+s.lanes[link.Vitals].bytes() <= 2*(recordOverhead+holeSize) {
		return o.dropFrames(tx, s, s.last, 0, n)
	}
	return nil
}

// dropCopies deletes the oldest records that the cloud has, forgetAtOnce seqs of
// them or one row.
func (l *lane) dropCopies(tx *sql.Tx, id link.Lane) error {
	all := l.acked
	l.acked.seq = min(all.seq, l.gone.seq+forgetAtOnce)
	err := l.drop(tx, id, math.MaxInt64)
	l.acked = all
	return errors.Join(err, l.saveGone(tx, id))
}

// dropFrames deletes the oldest batches before upTo: those decided before wall,
// and as many more as free the given bytes. The newest batch always stays: its
// number is the next one's.
func (o *Outbox) dropFrames(tx *sql.Tx, s *state, upTo Position, wall, bytes int64) error {
	upTo = min(upTo, s.last)
	if s.first == 0 || s.first >= upTo || s.firstWall >= wall && bytes <= 0 {
		return nil
	}
	rows, err := tx.Query(`SELECT n, wall, total, length(frames) FROM batch ORDER BY n LIMIT $1`, batchesAtOnce+1)
	if err != nil {
		return fmt.Errorf("drop frames: %w", err)
	}
	defer rows.Close()
	goal := s.frameGone + bytes
	first := s.first
	for rows.Next() {
		var total, size int64
		if err := rows.Scan(&s.first, &s.firstWall, &total, &size); err != nil {
			return fmt.Errorf("drop frames: %w", err)
		}
		s.frameGone = total - size - batchOverhead
		if s.first >= upTo || s.firstWall >= wall && s.frameGone >= goal {
			break
		}
		if s.firstWall >= wall {
			s.evicted++
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("drop frames: %w", err)
	}
	if s.first == first {
		return nil
	}
	if _, err := tx.Exec(`DELETE FROM batch WHERE n < $1`, int64(s.first)); err != nil {
		return fmt.Errorf("drop frames: %w", err)
	}
	return nil
}

// holeSize is about what a hole's payload takes.
const holeSize = 96

// evict gives up the lane's oldest records: those observed before the given
// time, and as many more as free the given bytes. One hole record takes their
// place, under the last one's seq and with its hash, so the lane's numbers and
// hashes go on as they were.
func (l *lane) evict(tx *sql.Tx, seal seal, id link.Lane, bytes, before int64, reason string) error {
	cut, err := l.cut(tx, seal, id, bytes, before)
	if err != nil {
		return fmt.Errorf("evict %v: %w", id, err)
	}
	if cut == nil {
		return nil
	}
	cut.hole.Reason, cut.hole.Kind = reason, id.String()
	r, err := link.NewHole(&cut.hole, cut.hole.ObservedTo)
	if err != nil {
		return fmt.Errorf("evict %v: %w", id, err)
	}
	if _, err := tx.Exec(`DELETE FROM record WHERE lane = $1 AND seq <= $2`, int64(id), int64(r.Seq)); err != nil {
		return fmt.Errorf("evict %v: %w", id, err)
	}
	sealed := seal.close(nil, recordRow(int64(id), r.Seq), r.Payload)
	_, err = tx.Exec(`INSERT INTO record (lane, seq, kind, observed, hash, total, sealed_with, payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		int64(id), int64(r.Seq), int64(r.Kind), r.Observed, cut.hole.Hash, cut.total, seal.with, sealed)
	if err != nil {
		return fmt.Errorf("evict %v: %w", id, err)
	}
	l.gone.total = cut.total - int64(len(sealed)) - recordOverhead
	l.evicted += cut.records
	l.oldest = r.Observed
	if cut.next != 0 {
		l.oldest = cut.next
	}
	return l.saveGone(tx, id)
}

// cut is where an eviction ends.
type cut struct {
	hole    linkpb.Hole
	total   int64 // after the last that goes
	records int64 // that go now; not those that went before
	next    int64 // observed, of the first that stays
}

// cut chooses at most recordsAtOnce rows. nil means that nothing goes: the lane
// is empty, or its first row is a hole and nothing after it is due.
func (l *lane) cut(tx *sql.Tx, seal seal, id link.Lane, bytes, before int64) (*cut, error) {
	rows, err := tx.Query(`SELECT seq, kind, observed, hash, total, sealed_with, payload FROM record WHERE lane = $1 ORDER BY seq LIMIT $2`,
		int64(id), recordsAtOnce)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	c := &cut{hole: linkpb.Hole{From: l.gone.seq + 1}}
	for rows.Next() {
		var r link.Record
		var hash []byte
		var total, with int64
		if err := rows.Scan(&r.Seq, &r.Kind, &r.Observed, &hash, &total, &with, &r.Payload); err != nil {
			return nil, err
		}
		if r.Kind == link.HoleKind { // of others only the size counts
			if r.Payload, err = seal.open(recordRow(int64(id), r.Seq), with, r.Payload); err != nil {
				return nil, err
			}
		}
		if r.Kind != link.HoleKind && r.Observed >= before && c.total-l.gone.total >= bytes {
			c.next = r.Observed
			break
		}
		if err := c.take(r, hash, total); err != nil {
			return nil, err
		}
	}
	if err := rows.Err(); err != nil || c.records == 0 {
		return nil, err
	}
	return c, nil
}

// take adds a row to what goes. A hole that is there already is made wider.
func (c *cut) take(r link.Record, hash []byte, total int64) error {
	from := r.Observed
	if r.Kind == link.HoleKind {
		h, err := link.ReadHole(r)
		if err != nil {
			return err
		}
		c.hole.From, from = h.From, h.ObservedFrom
	} else {
		c.records++
	}
	if c.hole.ObservedFrom == 0 || from < c.hole.ObservedFrom {
		c.hole.ObservedFrom = from
	}
	c.hole.ObservedTo = max(c.hole.ObservedTo, r.Observed)
	c.hole.To, c.hole.Hash, c.total = r.Seq, hash, total
	return nil
}
