package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	driver "modernc.org/sqlite"
)

// Check reads every page and says whether the file is sound (PRAGMA
// quick_check). It takes seconds for each GB and holds up no writer. Its error
// satisfies [Corrupt] when the file is damaged.
func (db *DB) Check(ctx context.Context) error {
	return quickCheck(ctx, db.Read)
}

func quickCheck(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `PRAGMA quick_check(5)`)
	if err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	defer rows.Close()
	var said []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return fmt.Errorf("check database: %w", err)
		}
		said = append(said, line)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	if len(said) != 1 || said[0] != "ok" {
		return fmt.Errorf("check database: %w: %s", errUnsound, strings.Join(said, "; "))
	}
	return nil
}

// Peek opens a file that may be damaged, to read what can be read of it. Each
// query may fail where another works. A file that is not there is an error.
func Peek(path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("peek into database: %w", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("peek into database: %w", err)
	}
	db, err := sql.Open("sqlite", fileURI(path, url.Values{"mode": {"rw"}, "_pragma": {"query_only(1)", "cell_size_check(1)"}}))
	if err != nil {
		return nil, fmt.Errorf("peek into database: %w", err)
	}
	db.SetMaxOpenConns(2)
	var tables int
	if err := db.QueryRow(`SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
		return nil, errors.Join(fmt.Errorf("peek into database %s: %w", filepath.Base(path), err), db.Close())
	}
	return db, nil
}

// Checkpoint copies the write-ahead log into the database file and, with
// truncate, then cuts the log to nothing. Call it when idle. whole is false
// when a reader still needs part of the log; Checkpoint does not wait for it.
func (db *DB) Checkpoint(ctx context.Context, truncate bool) (whole bool, err error) {
	conn, err := db.Write.Conn(ctx)
	if err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	defer conn.Close()
	ctx = context.WithoutCancel(ctx)
	if !truncate {
		return checkpoint(ctx, conn, "PASSIVE")
	}
	// A truncating checkpoint would hold up the writer for as long as a reader
	// reads: not worth it.
	var timeout int
	if err := conn.QueryRowContext(ctx, `PRAGMA busy_timeout`).Scan(&timeout); err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	if _, err := conn.ExecContext(ctx, `PRAGMA busy_timeout = 0`); err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	whole, err = checkpoint(ctx, conn, "TRUNCATE")
	_, restored := conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA busy_timeout = %d`, timeout))
	return whole, errors.Join(err, restored)
}

func checkpoint(ctx context.Context, conn *sql.Conn, mode string) (bool, error) {
	var busy, inLog, copied int
	err := conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(`+mode+`)`).Scan(&busy, &inLog, &copied)
	if Busy(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("checkpoint: %w", err)
	}
	return busy == 0 && inLog == copied, nil
}

// Shrink gives at most the given number of free pages back to the file system,
// in one transaction; the file is smaller after the next [DB.Checkpoint].
func (db *DB) Shrink(ctx context.Context, pages int) error {
	err := db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, pages))
		return err
	})
	if err != nil {
		return fmt.Errorf("shrink database: %w", err)
	}
	return nil
}

// Size is what the database takes on the disk, in bytes: file plus write-ahead
// log.
func (db *DB) Size() (int64, error) {
	file, err := os.Stat(db.path)
	if err != nil {
		return 0, err
	}
	log, err := os.Stat(db.path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return file.Size(), nil
	}
	if err != nil {
		return 0, err
	}
	return file.Size() + log.Size(), nil
}

// backupStep is how many pages are copied between two looks at the context.
const backupStep = 1024

// Backup writes a copy of db, as it is at one instant, to dest (mode 0600),
// which must not exist. Writers go on meanwhile. The copy is read back with
// quick_check and is durable before it appears under its name; when Backup
// fails or ctx ends there is no dest.
func Backup(ctx context.Context, db *DB, dest string) error {
	if err := backup(ctx, db, dest); err != nil {
		return fmt.Errorf("back up database to %s: %w", dest, err)
	}
	return nil
}

func backup(ctx context.Context, db *DB, dest string) error {
	dest, err := filepath.Abs(dest)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dest); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fs.ErrExist)
	}
	partial, err := os.CreateTemp(filepath.Dir(dest), filepath.Base(dest)+".partial-*")
	if err != nil {
		return err
	}
	defer os.Remove(partial.Name()) // after the rename, nothing
	defer partial.Close()
	if err := copyPages(ctx, db, partial.Name()); err != nil {
		return err
	}
	if err := checkCopy(ctx, partial.Name()); err != nil {
		return err
	}
	if err := partial.Sync(); err != nil {
		return err
	}
	if err := os.Rename(partial.Name(), dest); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dest))
}

// copyPages copies inside one read transaction: without it, every commit of the
// writer would make SQLite begin the copy again.
func copyPages(ctx context.Context, db *DB, to string) error {
	conn, err := db.Read.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var tables int // the snapshot is taken by the first read
	if err := tx.QueryRow(`SELECT count(*) FROM sqlite_schema`).Scan(&tables); err != nil {
		return err
	}
	return conn.Raw(func(c any) error {
		source, ok := c.(interface {
			NewBackup(dest string) (*driver.Backup, error)
		})
		if !ok {
			panic("sqlite: the driver has lost its backup API")
		}
		b, err := source.NewBackup(fileURI(to, nil))
		if err != nil {
			return err
		}
		return errors.Join(steps(ctx, b), b.Finish())
	})
}

func steps(ctx context.Context, b *driver.Backup) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := b.Step(backupStep)
		if err != nil || !more {
			return err
		}
	}
}

// checkCopy reads a file that nobody writes, so it needs no log and leaves none.
func checkCopy(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", fileURI(path, url.Values{"immutable": {"1"}}))
	if err != nil {
		return err
	}
	return errors.Join(quickCheck(ctx, db), db.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
