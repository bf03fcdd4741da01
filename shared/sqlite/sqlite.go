// Package sqlite opens the databases of both tiers and looks after their files.
//
// It promises that a database which opens really has the settings that the
// product's durability rests on (each is read back, since SQLite passes over an
// unknown one in silence), that there is one writer, that the schema only moves
// forward, and that a copy is taken by SQLite's backup API.
//
// It is the only importer of the driver: no type of the driver's crosses this
// package's API, and [Corrupt], [Full] and [Duplicate] say what a caller may
// want to know of an error. It knows nothing of any table but its own list of
// migrations, and offers no query builder: callers write SQL.
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
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// Options adjusts one database. The zero value is right for a gateway.
type Options struct {
	// Readers is how many reading connections there may be; 0 means 4.
	Readers int
	// CacheKiB is the page cache of each connection in KiB; 0 means 2048.
	CacheKiB int
	// BusyTimeout is how long a statement waits for a lock that another
	// process or connection holds; 0 means 5 s. Resolution 1 ms.
	BusyTimeout time.Duration
	// WALLimit is the size in bytes that the write-ahead log is cut back to
	// when it starts over; 0 means 4 MiB.
	WALLimit int64
}

func (o Options) withDefaults() Options {
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.CacheKiB == 0 {
		o.CacheKiB = 2048
	}
	if o.BusyTimeout == 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.WALLimit == 0 {
		o.WALLimit = 4 << 20
	}
	return o
}

// DB is one open database file.
type DB struct {
	// Write is the one writing connection. A transaction on it takes the
	// write lock when it begins. Prefer [DB.Tx].
	Write *sql.DB
	// Read is the pool of reading connections; a statement that writes fails.
	// Always close Rows: an open one keeps the write-ahead log from starting
	// over, and it then grows without bound.
	Read *sql.DB

	path string
}

// Open opens the database at path, making an empty one (mode 0600) when there
// is none; its folder must exist. It fails with an error that names the pragma
// when a setting did not take effect, and with one that satisfies [Corrupt]
// when the file is not a sound database.
func Open(path string, o Options) (*DB, error) {
	db, err := open(path, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", filepath.Base(path), err)
	}
	return db, nil
}

func open(path string, o Options) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	db := &DB{path: path}
	if db.Write, err = pool(path, pragmas(o), 1, "immediate"); err != nil {
		return nil, err
	}
	reading := append(pragmas(o), pragma{"query_only", "1", "1"})
	if db.Read, err = pool(path, reading, o.Readers, "deferred"); err != nil {
		return nil, errors.Join(err, db.Write.Close())
	}
	return db, nil
}

// create makes an empty file that only its owner may read, before SQLite would
// make one for everybody. It never opens a file that exists: closing any
// descriptor of a live database drops the locks that SQLite holds on it.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// A pragma is set in the DSN, on every connection, and read back.
type pragma struct {
	name, set string
	want      string // as PRAGMA name answers
}

func pragmas(o Options) []pragma {
	busy := fmt.Sprint(o.BusyTimeout.Milliseconds())
	cache := fmt.Sprint(-o.CacheKiB)
	limit := fmt.Sprint(o.WALLimit)
	return []pragma{
		{"busy_timeout", busy, busy},
		{"auto_vacuum", "INCREMENTAL", "2"}, // before the first page is written
		{"journal_mode", "WAL", "wal"},
		{"synchronous", "FULL", "2"},
		{"foreign_keys", "1", "1"},
		{"cache_size", cache, cache},
		{"mmap_size", "0", "0"},
		{"temp_store", "MEMORY", "2"}, // a read-only container has no /tmp, and nothing unsealed may spill to disk
		{"journal_size_limit", limit, limit},
	}
}

func pool(path string, ps []pragma, conns int, lock string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, ps, lock))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if err := readBack(db, ps); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func dsn(path string, ps []pragma, lock string) string {
	q := url.Values{"_txlock": {lock}}
	for _, p := range ps {
		q.Add("_pragma", p.name+"("+p.set+")")
	}
	return fileURI(path, q)
}

func fileURI(path string, q url.Values) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

func readBack(db *sql.DB, ps []pragma) error {
	for _, p := range ps {
		var got string
		err := db.QueryRow("PRAGMA " + p.name).Scan(&got)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("pragma %s is unknown to this build of sqlite", p.name)
		}
		if err != nil {
			return fmt.Errorf("read back pragma %s: %w", p.name, err)
		}
		if got != p.want {
			return fmt.Errorf("pragma %s is %s and will not be set to %s", p.name, got, p.want)
		}
	}
	return nil
}

// Path is the absolute path of the database file.
func (db *DB) Path() string { return db.path }

// Close closes readers and then the writer, which folds the write-ahead log
// into the file. It waits for statements that are running.
func (db *DB) Close() error {
	return errors.Join(db.Read.Close(), db.Write.Close())
}

// Tx runs f in one transaction on the writing connection: committed when f
// returns nil, rolled back when it returns an error (which Tx returns as it is)
// or panics. After nil, what f wrote survives a loss of power.
//
// ctx bounds only the wait for the writer. Once the transaction has begun it is
// never cut off, because a statement that is interrupted half-way costs the
// connection and leaves the caller not knowing whether its commit happened.
// f must use only its tx: [DB.Tx] or [DB.Write] inside f waits for ever.
func (db *DB) Tx(ctx context.Context, f func(*sql.Tx) error) error {
	conn, err := db.Write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("wait for the writer: %w", err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // after a commit, nothing
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
