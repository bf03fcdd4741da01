package store

import (
	"errors"
	"fmt"
)

// ErrGap means that what follows a cursor is no longer kept, or that the cursor
// is from another database: the reader must start over.
var ErrGap = errors.New("the cursor is not in the feed")

type feedRow struct {
	kind, ward string
	payload    []byte
}

// FeedRow is one change.
type FeedRow struct {
	Seq     uint64
	At      int64  // when it was committed, µs UTC
	Kind    string // alert, gateway, ward
	Ward    string // "" concerns every ward
	Payload []byte // JSON, by kind
}

// Feed writes a change. Its seq is given as the last thing in the transaction,
// under the lock of the feed's head, so that the order of seqs is the order of
// commits and no reader can pass over what commits late.
func (tx *Tx) Feed(kind, ward string, payload []byte) {
	tx.feed = append(tx.feed, feedRow{kind, ward, payload})
}

func (tx *Tx) numberFeed() (last uint64, err error) {
	if len(tx.feed) == 0 {
		return 0, nil
	}
	at := tx.Now()
	var head int64
	err = tx.QueryRow(`UPDATE feed_head SET last = last + $1 WHERE one = 1 RETURNING last`, len(tx.feed)).Scan(&head)
	if err != nil {
		return 0, fmt.Errorf("number the feed: %w", err)
	}
	seq := head - int64(len(tx.feed))
	for _, r := range tx.feed {
		seq++
		_, err := tx.Exec(`INSERT INTO feed (seq, at, kind, ward, payload) VALUES ($1, $2, $3, $4, $5)`, seq, at, r.kind, r.ward, r.payload)
		if err != nil {
			return 0, fmt.Errorf("write the feed: %w", err)
		}
	}
	return uint64(head), nil
}

// FeedHead is the seq of the newest change and of the newest that is no longer
// kept; 0 for none.
func (tx *Tx) FeedHead() (last, floor uint64, err error) {
	var l, f int64
	err = tx.QueryRow(`SELECT last, floor FROM feed_head WHERE one = 1`).Scan(&l, &f)
	return uint64(l), uint64(f), err
}

// FeedAfter lists at most limit changes after cursor, of every ward, in order.
// It fails with [ErrGap] when one of them is no longer kept.
func (tx *Tx) FeedAfter(cursor uint64, limit int) ([]FeedRow, error) {
	last, floor, err := tx.FeedHead()
	if err != nil {
		return nil, err
	}
	if cursor < floor || cursor > last {
		return nil, fmt.Errorf("after %d of %d to %d: %w", cursor, floor, last, ErrGap)
	}
	if cursor == last {
		return nil, nil
	}
	var out []FeedRow
	err = tx.each(func(row scanner) error {
		var r FeedRow
		var seq int64
		err := row.Scan(&seq, &r.At, &r.Kind, &r.Ward, &r.Payload)
		r.Seq = uint64(seq)
		out = append(out, r)
		return err
	}, `SELECT seq, at, kind, ward, payload FROM feed WHERE seq > $1 ORDER BY seq LIMIT $2`, int64(cursor), limit)
	return out, err
}

// TrimFeed forgets at most limit changes from before an instant or beyond the
// newest keep, oldest first, and raises the floor to match.
func (tx *Tx) TrimFeed(before int64, keep uint64, limit int) (removed int, err error) {
	last, floor, err := tx.FeedHead()
	if err != nil {
		return 0, err
	}
	upto := int64(floor)
	err = tx.each(func(row scanner) error { return row.Scan(&upto) },
		`SELECT seq FROM (SELECT seq, at FROM feed ORDER BY seq LIMIT $1) AS oldest
		WHERE at < $2 OR seq <= $3 ORDER BY seq`, limit, before, int64(last)-int64(keep))
	if err != nil || upto == int64(floor) {
		return 0, err
	}
	if _, err := tx.Exec(`UPDATE feed_head SET floor = $1 WHERE one = 1`, upto); err != nil {
		return 0, err
	}
	return affected(tx.Exec(`DELETE FROM feed WHERE seq <= $1`, upto))
}
