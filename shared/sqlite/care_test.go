package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// fill makes a table of n rows of about 1 kB.
func fill(t *testing.T, db *DB, n int) {
	t.Helper()
	mustExec(t, db, `CREATE TABLE IF NOT EXISTS filled (i INTEGER PRIMARY KEY, x)`)
	mustExec(t, db, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO filled (x) SELECT randomblob(1000) FROM n`, n)
}

func TestABackupIsOneInstantOfADatabaseThatIsBeingWritten(t *testing.T) {
	db := newTest(t)
	fill(t, db, 6000) // more than one step of the copy
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			// Always a pair, so a copy of half a transaction has an odd count.
			err := db.Tx(context.Background(), func(tx *sql.Tx) error {
				_, err := tx.Exec(`INSERT INTO filled (x) VALUES (1), (2)`)
				return err
			})
			if err != nil {
				done <- err
				return
			}
		}
	}()
	dest := filepath.Join(t.TempDir(), "copy.db")
	err := Backup(t.Context(), db, dest)
	close(stop)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	s, err := os.Stat(dest)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Mode().Perm(); got != 0o600 {
		t.Errorf("mode: got %o, want 600", got)
	}
	onlyFile(t, dest)
	backup := openTest(t, dest)
	if got := count(t, backup, `SELECT count(*) FROM filled`); got < 6000 || got%2 != 0 {
		t.Errorf("the copy has %d rows", got)
	}
}

func TestABackupNeverOverwrites(t *testing.T) {
	db := newTest(t)
	dest := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(dest, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), db, dest); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want %v", err, fs.ErrExist)
	}
	if text, _ := os.ReadFile(dest); string(text) != "precious" {
		t.Error("the file that was there is gone")
	}
}

func TestABackupThatWasCutOffLeavesNoFile(t *testing.T) {
	db := newTest(t)
	fill(t, db, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dest := filepath.Join(t.TempDir(), "copy.db")
	if err := Backup(ctx, db, dest); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	left, err := os.ReadDir(filepath.Dir(dest))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestABackupOfADamagedDatabaseFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, 1000)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	scribble(t, path, 40*4096)
	dest := filepath.Join(t.TempDir(), "copy.db")
	if err := Backup(t.Context(), openTest(t, path), dest); !Corrupt(err) {
		t.Errorf("%v is not corrupt", err)
	}
	if _, err := os.Stat(dest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged copy stands under its name: %v", err)
	}
}

func onlyFile(t *testing.T, path string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Name() != filepath.Base(path) {
		t.Errorf("beside %s: %v", filepath.Base(path), files)
	}
}

func logSize(t *testing.T, db *DB) int64 {
	t.Helper()
	s, err := os.Stat(db.Path() + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return s.Size()
}

func TestACheckpointEmptiesTheLog(t *testing.T) {
	db := newTest(t)
	fill(t, db, 100)
	if logSize(t, db) == 0 {
		t.Fatal("there is no log to copy")
	}
	if whole, err := db.Checkpoint(t.Context(), false); err != nil || !whole {
		t.Fatalf("got %v, %v, want true", whole, err)
	}
	if whole, err := db.Checkpoint(t.Context(), true); err != nil || !whole {
		t.Fatalf("got %v, %v, want true", whole, err)
	}
	if got := logSize(t, db); got != 0 {
		t.Errorf("the log has %d bytes", got)
	}
}

func TestACheckpointDoesNotWaitForAReader(t *testing.T) {
	db := newTest(t)
	fill(t, db, 100)
	rows, err := db.Read.Query(`SELECT i FROM filled`)
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatal("no rows")
	}
	fill(t, db, 100)
	if whole, err := db.Checkpoint(t.Context(), true); err != nil || whole {
		t.Errorf("with a reader: got %v, %v, want false", whole, err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if whole, err := db.Checkpoint(t.Context(), true); err != nil || !whole {
		t.Errorf("without: got %v, %v, want true", whole, err)
	}
	if err := readBack(db.Write, pragmas(Options{}.withDefaults())); err != nil {
		t.Errorf("a pragma was left changed: %v", err)
	}
}

func TestTheFileShrinksAfterABacklogHasDrained(t *testing.T) {
	db := newTest(t)
	fill(t, db, 2000)
	if _, err := db.Checkpoint(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	full, err := db.Size()
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `DELETE FROM filled`)
	if err := db.Shrink(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if got := count(t, db, `SELECT freelist_count FROM pragma_freelist_count`); got == 0 {
		t.Error("all pages were given back, want 100")
	}
	if err := db.Shrink(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Checkpoint(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Size(); err != nil || got > full/20 {
		t.Errorf("size: got %d, %v, want at most a twentieth of %d", got, err, full)
	}
}
