package store

import (
	"errors"
	"fmt"

	"wardline/shared/link"
)

// ErrLaneMoved means that a lane does not stand where its writer believed:
// another session of the gateway has written since.
var ErrLaneMoved = errors.New("the lane has moved")

// LaneCursors is how far each lane of one outbox's life (epoch, 16 bytes) is
// durable here, indexed by lane; zero where nothing has come yet.
func (tx *Tx) LaneCursors(gateway string, epoch []byte) (at [len(link.Lanes) + 1]link.Cursor, err error) {
	rows, err := tx.Query(`SELECT lane, through, hash FROM lane WHERE gateway = $1 AND epoch = $2`, gateway, epoch)
	if err != nil {
		return at, fmt.Errorf("read lanes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var lane, through int64
		var hash []byte
		if err := rows.Scan(&lane, &through, &hash); err != nil {
			return at, fmt.Errorf("read lanes: %w", err)
		}
		if !link.Lane(lane).Valid() || len(hash) != len(link.Hash{}) {
			return at, fmt.Errorf("read lanes: lane %d of %s has a hash of %d bytes", lane, gateway, len(hash))
		}
		at[lane] = link.Cursor{Seq: uint64(through), Hash: link.Hash(hash)}
	}
	return at, rows.Err()
}

// MoveLane moves a lane's cursor from base to next. It belongs in the
// transaction that has the records' effect. It fails with [ErrLaneMoved] when
// the lane does not stand at base.
func (tx *Tx) MoveLane(gateway string, epoch []byte, lane link.Lane, base, next link.Cursor) error {
	const first = `INSERT INTO lane (gateway, epoch, lane, through, hash, at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (gateway, epoch, lane) DO NOTHING`
	const later = `UPDATE lane SET through = $4, hash = $5, at = $6
		WHERE gateway = $1 AND epoch = $2 AND lane = $3 AND through = $7 AND hash = $8`
	args := []any{gateway, epoch, int64(lane), int64(next.Seq), next.Hash[:], tx.Now()}
	query := first
	if base.Seq > 0 {
		query, args = later, append(args, int64(base.Seq), base.Hash[:])
	}
	res, err := tx.Exec(query, args...)
	if err != nil {
		return fmt.Errorf("move lane: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("move %s of %s on from %d: %w", lane, gateway, base.Seq, ErrLaneMoved))
	}
	return nil
}

// OddRecord is a record that this version could not take, kept raw.
type OddRecord struct {
	Gateway string
	Epoch   []byte
	Lane    link.Lane
	Record  link.Record
	TakenAt int64 // µs UTC
	Reason  string
}

// PutOddRecord keeps one raw.
func (tx *Tx) PutOddRecord(o OddRecord) error {
	payload := o.Record.Payload
	if payload == nil {
		payload = []byte{}
	}
	_, err := tx.Exec(`INSERT INTO odd_record (gateway, epoch, lane, seq, kind, observed, taken_at, reason, payload)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (gateway, epoch, lane, seq) DO NOTHING`,
		o.Gateway, o.Epoch, int64(o.Lane), int64(o.Record.Seq), int64(o.Record.Kind), o.Record.Observed, tx.Now(), o.Reason, payload)
	if err != nil {
		return fmt.Errorf("keep odd record: %w", err)
	}
	return nil
}

// OddRecords is a gateway's newest odd records, newest first.
func (tx *Tx) OddRecords(gateway string, limit int) ([]OddRecord, error) {
	rows, err := tx.Query(`SELECT epoch, lane, seq, kind, observed, taken_at, reason, payload FROM odd_record
		WHERE gateway = $1 ORDER BY taken_at DESC, lane, seq DESC LIMIT $2`, gateway, limit)
	if err != nil {
		return nil, fmt.Errorf("read odd records: %w", err)
	}
	defer rows.Close()
	var list []OddRecord
	for rows.Next() {
		o := OddRecord{Gateway: gateway}
		var lane, seq, kind int64
		if err := rows.Scan(&o.Epoch, &lane, &seq, &kind, &o.Record.Observed, &o.TakenAt, &o.Reason, &o.Record.Payload); err != nil {
			return nil, fmt.Errorf("read odd records: %w", err)
		}
		o.Lane, o.Record.Seq, o.Record.Kind = link.Lane(lane), uint64(seq), link.Kind(kind)
		list = append(list, o)
	}
	return list, rows.Err()
}
