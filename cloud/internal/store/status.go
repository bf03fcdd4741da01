package store

import (
	"errors"
	"io/fs"
	"os"
)

// Totals is what the tables hold, as far as it says how a cloud is.
type Totals struct {
	Gateways  int // that may connect
	Connected int // of those, whose link is up
	Odd       int // records that are kept raw
	FeedRows  uint64
}

// Totals counts. It reads no table whole but that of gateways, and the index of
// odd records.
func (tx *Tx) Totals() (Totals, error) {
	var t Totals
	err := tx.QueryRow(`SELECT count(*), count(*) FILTER (WHERE link = $1), (SELECT count(*) FROM odd_record)
		FROM gateway WHERE revoked_at = 0`, LinkUp).Scan(&t.Gateways, &t.Connected, &t.Odd)
	last, floor, ferr := tx.FeedHead()
	t.FeedRows = last - floor // seqs have no holes
	return t, errors.Join(err, ferr)
}

// PutStatus replaces what the running cloud says of itself, in JSON.
func (tx *Tx) PutStatus(at int64, state []byte) error {
	_, err := tx.Exec(`INSERT INTO status (one, at, state) VALUES (1, $1, $2)
		ON CONFLICT (one) DO UPDATE SET at = $1, state = $2`, at, string(state))
	return err
}

// Status is what the running cloud said last, and when; [ErrNotFound] when none has.
func (tx *Tx) Status() (at int64, state []byte, err error) {
	err = tx.QueryRow(`SELECT at, state FROM status WHERE one = 1`).Scan(&at, &state)
	return at, state, err
}

// Size is how many bytes the database's file has, and the write-ahead log beside it.
func (s *Store) Size() (database, log int64, err error) {
	if database, err = sizeOf(s.db.Path()); err != nil {
		return 0, 0, err
	}
	log, err = sizeOf(s.db.Path() + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return database, log, err
}

func sizeOf(path string) (int64, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return stat.Size(), nil
}
