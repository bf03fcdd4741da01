// Package store is the cloud's truth: its tables, and the one way to write them.
//
// It promises that [Store.Do] returns nil only after the commit is durable, that
// functions which wait together share one commit (urgent ones first, a savepoint
// each, so that one's failure is its own), that the feed's order is the order of
// commits, and that the schema only moves forward. Damage is never worked
// around: once the database contradicts itself every call fails with
// [ErrDamaged] and [Store.Damaged] tells the owner to stop.
//
// It holds rows and no rules: what an alert or an acknowledgement means is the
// board's. The typed methods of [Tx] are in a file a subject. Another process
// (an operator's command) may write the same file meanwhile; so nothing that
// such a command can change is cached here.
package store

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"wardline/shared/sqlite"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations are the schema's steps, for [sqlite.Migrate].
func Migrations() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Errors that callers decide on.
var (
	ErrNotFound = errors.New("not found")
	ErrNone     = errors.New("there is no database")
	ErrClosed   = errors.New("the store is closed")
	ErrDamaged  = errors.New("the database is damaged: stop, and restore a backup")
)

// Urgency says which of those that wait for the writer goes first.
type Urgency int

// The urgencies: people's acts and alerts, and everything else.
const (
	Normal Urgency = iota
	High
)

// readers is how many connections read at a time.
const readers = 8

// Store is one open database. Its methods may be called from any goroutine.
type Store struct {
	db      *sqlite.DB
	now     func() int64
	reading chan *session // of readers, those that are idle

	high, normal chan *job
	closing      chan struct{}
	writer       sync.WaitGroup
	closeOnce    sync.Once
	closeErr     error

	beds bedNumbers

	mu       sync.Mutex // guards what follows
	hooks    []func(last uint64)
	damaged  chan struct{}
	damageBy error
}

// Open opens the database at path, makes it when there is none, and brings its
// schema forward. It fails with [sqlite.ErrNewer] when a newer version of this
// program wrote it. Close it.
func Open(path string) (*Store, error) { return OpenAt(path, nil) }

// OpenAt is [Open] with the time for what the store stamps itself (µs UTC); nil
// means the system's.
func OpenAt(path string, now func() int64) (*Store, error) { return openDB(path, now, false) }

// OpenExisting is [OpenAt] for a database that was there before: it fails with
// [ErrNone] when there is none at path, or one that nothing was ever written to,
// such as a file that was copied without its write-ahead log.
func OpenExisting(path string, now func() int64) (*Store, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open store %s: %w", path, ErrNone)
	}
	return openDB(path, now, true)
}

func openDB(path string, now func() int64, existing bool) (*Store, error) {
	if now == nil {
		now = func() int64 { return time.Now().UnixMicro() }
	}
	// Two more for those who use the pool directly: backup, migration.
	db, err := sqlite.Open(path, sqlite.Options{Readers: readers + 2, CacheKiB: 16 << 10, WALLimit: 64 << 20})
	if err != nil {
		return nil, fmt.Errorf("open store: %w", damage(err))
	}
	if existing {
		if n, err := sqlite.Version(db); err != nil || n == 0 {
			return nil, errors.Join(fmt.Errorf("open store %s: %w", path, cmp.Or(damage(err), ErrNone)), db.Close())
		}
	}
	if err := sqlite.Migrate(db, Migrations()); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", damage(err)), db.Close())
	}
	s := &Store{
		db: db, now: now, reading: make(chan *session, readers),
		high: make(chan *job, queueLen), normal: make(chan *job, queueLen),
		closing: make(chan struct{}), damaged: make(chan struct{}),
	}
	for range readers {
		s.reading <- &session{pool: db.Read, begin: "BEGIN"}
	}
	s.writer.Go(s.write)
	return s, nil
}

// Close waits for the commit in flight and for readers, refuses what still waits
// with [ErrClosed], and closes the database. Further calls return the same.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.writer.Wait()
		for range readers {
			(<-s.reading).drop()
		}
		s.closeErr = s.db.Close()
	})
	return s.closeErr
}

// OnCommit has f called after each commit that wrote to the feed, with its last
// seq, in the order of commits. f must not block nor call the store.
func (s *Store) OnCommit(f func(last uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, f)
}

func (s *Store) committed(last uint64) {
	s.mu.Lock()
	hooks := s.hooks
	s.mu.Unlock()
	for _, f := range hooks {
		f(last)
	}
}

// Damaged is closed when the database was found damaged; [Store.Damage] then
// says how.
func (s *Store) Damaged() <-chan struct{} { return s.damaged }

// Damage is what was found, nil while the database is sound as far as is known.
func (s *Store) Damage() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damageBy
}

// check passes err through, and remembers it when it means damage.
func (s *Store) check(err error) error {
	d := damage(err)
	if d == nil || !errors.Is(d, ErrDamaged) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damageBy == nil {
		s.damageBy = d
		close(s.damaged)
	}
	return d
}

func damage(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) || !sqlite.Corrupt(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// Check reads every page and fails with [ErrDamaged] when the file contradicts
// itself. It takes seconds for each GB and holds up no writer.
func (s *Store) Check(ctx context.Context) error { return s.check(s.db.Check(ctx)) }

// View runs f on one consistent snapshot, beside writers and other readers.
// What f writes fails. Its error is f's. When ctx ends, so does the query that
// is running.
func (s *Store) View(ctx context.Context, f func(tx *Tx) error) error {
	if err := s.Damage(); err != nil {
		return err
	}
	var reader *session
	select {
	case reader = <-s.reading:
	case <-ctx.Done():
		return fmt.Errorf("wait for a reader: %w", context.Cause(ctx))
	case <-s.closing:
		return ErrClosed
	}
	defer func() { s.reading <- reader }()
	if err := reader.open(ctx); err != nil {
		return s.check(fmt.Errorf("begin reading: %w", err))
	}
	defer reader.rollback()
	return s.check(f(&Tx{store: s, session: reader, ctx: ctx}))
}

// Schema is the number of the last migration applied.
func (s *Store) Schema() (int, error) { return sqlite.Version(s.db) }
