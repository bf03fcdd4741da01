package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"wardline/shared/link"
)

// readState reads the ends of everything: a handful of rows, however much is kept.
func readState(db *sql.DB) (state, error) {
	var s state
	tx, err := db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s, err
	}
	defer tx.Rollback()
	var epoch []byte
	if err := tx.QueryRow(`SELECT epoch FROM life`).Scan(&epoch); err != nil {
		return s, fmt.Errorf("read epoch: %w", err)
	}
	s.epoch = [16]byte(epoch)
	if err := readBatchEnds(tx, &s); err != nil {
		return s, fmt.Errorf("read batches: %w", err)
	}
	for _, l := range link.Lanes {
		if err := readLane(tx, l, &s.lanes[l]); err != nil {
			return s, fmt.Errorf("read lane %v: %w", l, err)
		}
	}
	if err := s.clock.read(tx); err != nil {
		return s, fmt.Errorf("read clock: %w", err)
	}
	err = tx.QueryRow(`SELECT batch FROM checkpoint`).Scan(&s.checkpoint)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("read checkpoint: %w", err)
	}
	var episodes int // touches the table
	if err := tx.QueryRow(`SELECT count(*) FROM episode`).Scan(&episodes); err != nil {
		return s, fmt.Errorf("read episodes: %w", err)
	}
	return s, nil
}

func readBatchEnds(tx *sql.Tx, s *state) error {
	err := tx.QueryRow(`SELECT n, wall, total FROM batch ORDER BY n DESC LIMIT 1`).Scan(&s.last, &s.lastWall, &s.frameTotal)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	var size int64
	err = tx.QueryRow(`SELECT n, wall, total, length(frames) FROM batch ORDER BY n LIMIT 1`).
		Scan(&s.first, &s.firstWall, &s.frameGone, &size)
	s.frameGone -= size + batchOverhead
	return err
}

func readLane(tx *sql.Tx, id link.Lane, l *lane) error {
	var hash []byte
	err := tx.QueryRow(`SELECT through, hash, total, evicted, acked, acked_total FROM gone WHERE lane = $1`, int64(id)).
		Scan(&l.gone.seq, &hash, &l.gone.total, &l.evicted, &l.acked.seq, &l.acked.total)
	if err == nil {
		copy(l.gone.hash[:], hash)
	} else if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if l.acked.seq < l.gone.seq {
		l.acked.seq, l.acked.total = l.gone.seq, l.gone.total
	}
	l.last, l.asked = l.gone, l.acked.seq
	err = tx.QueryRow(`SELECT seq, hash, total FROM record WHERE lane = $1 ORDER BY seq DESC LIMIT 1`, int64(id)).
		Scan(&l.last.seq, &hash, &l.last.total)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	copy(l.last.hash[:], hash)
	return tx.QueryRow(`SELECT observed FROM record WHERE lane = $1 ORDER BY seq LIMIT 1`, int64(id)).Scan(&l.oldest)
}

func readCommands(db *sql.DB) (map[string]int64, error) {
	rows, err := db.Query(`SELECT id, at FROM command`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	seen := map[string]int64{}
	for rows.Next() {
		var id string
		var at int64
		if err := rows.Scan(&id, &at); err != nil {
			return nil, err
		}
		seen[id] = at
	}
	return seen, rows.Err()
}

// Load returns what a restart goes on from: the last checkpoint (nil when there
// is none) with its place, and the open episodes. Replay then begins with
// Frames(at).
func (o *Outbox) Load() (checkpoint []byte, at Position, open []Episode, err error) {
	tx, err := o.db.Read.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, 0, nil, fmt.Errorf("load: %w", err)
	}
	defer tx.Rollback()
	var with int64
	err = tx.QueryRow(`SELECT batch, sealed_with, state FROM checkpoint`).Scan(&at, &with, &checkpoint)
	if err == nil {
		if checkpoint, err = o.seal.open(checkpointRow(at), with, checkpoint); err != nil {
			err, checkpoint, at = nil, nil, 0
			o.tear()
		}
	} else if !errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil, fmt.Errorf("load the checkpoint: %w", o.damaged(err))
	}
	rows, err := tx.Query(`SELECT id, untold, sealed_with, state FROM episode ORDER BY id`)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("load open episodes: %w", o.damaged(err))
	}
	defer rows.Close()
	for rows.Next() {
		e := Episode{Open: true}
		if err := rows.Scan(&e.ID, &e.Untold, &with, &e.State); err != nil {
			return nil, 0, nil, fmt.Errorf("load open episodes: %w", o.damaged(err))
		}
		if e.State, err = o.seal.open(episodeRow(e.ID), with, e.State); err != nil {
			o.tear() // the caller finds that it cannot read it
		}
		open = append(open, e)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, nil, fmt.Errorf("load open episodes: %w", o.damaged(err))
	}
	return checkpoint, at, open, nil
}

// framesPage is how many batches Frames reads at once. A page is read whole
// before any of it is handed out, so no reader stands open meanwhile.
const framesPage = 16

// Frames goes through the batches after a place, in arrival order. If the first
// one's Position is not after + 1, those between gave way. A batch that is not in
// its form comes with an error, and what follows it can still be had; when the
// file cannot be read, the error is the last.
func (o *Outbox) Frames(after Position) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for {
			page, err := o.framesPage(after)
			if err != nil {
				yield(Batch{}, fmt.Errorf("read batches after %d: %w", after, o.damaged(err)))
				return
			}
			for _, b := range page {
				if !yield(b.Batch, b.err) {
					return
				}
				after = b.Position
			}
			if len(page) < framesPage {
				return
			}
		}
	}
}

// readBatch is a batch, or why it cannot be read.
type readBatch struct {
	Batch
	err error
}

func (o *Outbox) framesPage(after Position) ([]readBatch, error) {
	return o.framesPageOf(after, framesPage)
}

func (o *Outbox) framesPageOf(after Position, n int) ([]readBatch, error) {
	rows, err := o.db.Read.Query(`SELECT n, boot, mono, wall, synchronised, sealed_with, frames FROM batch WHERE n > $1 ORDER BY n LIMIT $2`,
		int64(after), n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []readBatch
	for rows.Next() {
		var b readBatch
		var boot, with int64
		var frames []byte
		if err := rows.Scan(&b.Position, &boot, &b.Mono, &b.Wall, &b.Synchronised, &with, &frames); err != nil {
			return nil, err
		}
		b.Boot = uint64(boot)
		if frames, b.err = o.seal.open(batchRow(b.Position), with, frames); b.err == nil {
			b.Frames, b.err = readFrames(frames, b.Wall)
		}
		if b.err != nil {
			o.tear()
			b.err = fmt.Errorf("read batch %d: %w", b.Position, b.err)
		}
		page = append(page, b)
	}
	return page, rows.Err()
}

// Seen says whether the effect of the command with this id is kept. Ids are
// remembered for seven days, longer than any command's deadline.
func (o *Outbox) Seen(commandID string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.seen[commandID]
	return ok
}

// Stats is what the outbox holds. Bytes are as in Options.
type Stats struct {
	Bytes, MaxBytes int64
	Disk            int64 // what the files take
	FrameBytes      int64
	Batches         int64 // of frames
	Newest          int64 // when the newest batch was decided, µs UTC; 0 = none
	FramesFrom      int64 // when the oldest kept batch was decided, µs UTC; 0 = none
	BatchesEvicted  int64 // that gave way to bytes, not age, since Open
	Lanes           []LaneStats
	// Owed is what the cloud does not have yet: when it nears MaxBytes, what may
	// give way will.
	Owed int64
	// Over is set when owed alerts and status alone exceed MaxBytes: nothing is
	// left that could give way to them.
	Over bool
	// Torn counts the rows that were found changed since Open. A record that was
	// is replaced by a hole.
	Torn int64
	// Salvaged is what was taken over from a damaged predecessor; nil when there
	// was none.
	Salvaged *Salvage
	// Tight is set when the file system has less than twice Reserve free (below
	// Reserve things give way), and Free is what it has; 0 when that is not known.
	Tight bool
	Free  int64
}

// LaneStats is one lane of Stats.
type LaneStats struct {
	link.LaneState
	Bytes   int64
	Oldest  int64 // when the oldest kept record was observed, µs UTC; 0 = none
	Evicted int64 // records that gave way unsent, ever
}

// Stats tells what is held. It asks the file system for sizes, not the database.
func (o *Outbox) Stats() Stats {
	s := o.state()
	st := Stats{MaxBytes: o.opt.MaxBytes, FrameBytes: s.frameTotal - s.frameGone, BatchesEvicted: s.evicted, Bytes: s.bytes()}
	if s.last > 0 {
		st.Batches, st.FramesFrom, st.Newest = int64(s.last-s.first)+1, s.firstWall, s.lastWall
	}
	st.Disk, _ = o.db.Size() // a size that cannot be had is 0
	for _, id := range link.Lanes {
		l := s.lanes[id]
		st.Lanes = append(st.Lanes, LaneStats{l.state(id), l.bytes(), l.oldestOwed(), l.evicted})
		st.Owed += l.owed()
	}
	st.Over = s.alerts() > o.opt.MaxBytes
	o.mu.Lock()
	st.Torn, st.Salvaged = o.torn, o.salvaged
	o.mu.Unlock()
	if free, err := o.opt.Free(); err == nil {
		st.Free, st.Tight = free, free < 2*o.opt.Reserve
	}
	return st
}
