package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Tx is one transaction, seen by one function. It is of no use after the
// function has returned.
type Tx struct {
	store   *Store
	session *session
	ctx     context.Context // of a reader; the writer's never ends

	feed    []feedRow
	newBeds []bedNumber
}

// Now is the time that the store stamps with, µs UTC.
func (tx *Tx) Now() int64 { return tx.store.now() }

// Exec runs a statement with $1, $2 … for args. Statements are prepared once and
// kept: their texts must be constants.
func (tx *Tx) Exec(query string, args ...any) (sql.Result, error) {
	st, err := tx.session.prepared(tx.ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(tx.ctx, args...)
}

// Query is like Exec for rows. Close them.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	st, err := tx.session.prepared(tx.ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(tx.ctx, args...)
}

// QueryRow is like Query for at most one row; scan it at once.
func (tx *Tx) QueryRow(query string, args ...any) Row {
	st, err := tx.session.prepared(tx.ctx, query)
	if err != nil {
		return Row{err: err}
	}
	return Row{row: st.QueryRowContext(tx.ctx, args...)}
}

// Row is the answer of [Tx.QueryRow].
type Row struct {
	row *sql.Row
	err error
}

// Scan reads the row's columns; [ErrNotFound] when there is no row.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	err := r.row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// each runs scan for every row of a query and closes the rows.
func (tx *Tx) each(scan func(rows scanner) error, query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// A session is one connection and the statements prepared on it. It belongs to
// one goroutine at a time.
type session struct {
	pool  *sql.DB
	begin string

	conn *sql.Conn // nil until it is needed
	kept map[string]*sql.Stmt
	live bool // a transaction is open
}

// open begins a transaction.
func (s *session) open(ctx context.Context) error {
	if s.conn == nil {
		conn, err := s.pool.Conn(ctx)
		if err != nil {
			return err
		}
		s.conn, s.kept = conn, map[string]*sql.Stmt{}
	}
	st, err := s.prepared(ctx, s.begin)
	if err == nil {
		_, err = st.ExecContext(ctx)
	}
	if err != nil {
		s.drop()
		return err
	}
	s.live = true
	return nil
}

func (s *session) commit() error {
	st, err := s.prepared(context.Background(), "COMMIT")
	if err == nil {
		_, err = st.Exec()
	}
	s.live = err != nil
	return err
}

// rollback undoes an open transaction; after a commit, nothing. A connection
// that cannot even roll back is given up.
func (s *session) rollback() {
	if !s.live {
		return
	}
	s.live = false
	st, err := s.prepared(context.Background(), "ROLLBACK")
	if err == nil {
		_, err = st.Exec()
	}
	if err != nil {
		s.drop()
	}
}

// drop gives the connection back to its pool.
func (s *session) drop() {
	if s.conn == nil {
		return
	}
	for _, st := range s.kept {
		st.Close()
	}
	s.conn.Close()
	s.conn, s.kept, s.live = nil, nil, false
}

func (s *session) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if st := s.kept[query]; st != nil {
		return st, nil
	}
	if s.conn == nil {
		return nil, sql.ErrConnDone
	}
	st, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	s.kept[query] = st
	return st, nil
}
