package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openTest(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func newTest(t *testing.T) *DB {
	t.Helper()
	return openTest(t, filepath.Join(t.TempDir(), "a.db"))
}

func mustExec(t *testing.T, db *DB, query string, args ...any) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func count(t *testing.T, db *DB, query string) int {
	t.Helper()
	var n int
	if err := db.Read.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestEveryConnectionHasThePragmas(t *testing.T) {
	db := newTest(t)
	want := Options{}.withDefaults()
	var conns []*sql.Conn
	for range want.Readers {
		c, err := db.Read.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	for i, c := range conns {
		for _, p := range append(pragmas(want), pragma{"query_only", "1", "1"}) {
			var got string
			if err := c.QueryRowContext(t.Context(), "PRAGMA "+p.name).Scan(&got); err != nil || got != p.want {
				t.Errorf("reader %d: pragma %s: got %q, %v, want %q", i, p.name, got, err, p.want)
			}
		}
	}
}

func TestAPragmaThatDidNotTakeEffectIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	other, err := sql.Open("sqlite", fileURI(path, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(`CREATE TABLE a (b)`); err != nil { // without auto_vacuum, for good
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, Options{})
	if err == nil || !strings.Contains(err.Error(), "auto_vacuum") {
		t.Errorf("got %v, want an error that names auto_vacuum", err)
	}
}

func TestAPragmaThatSQLiteDoesNotKnowIsNamed(t *testing.T) {
	db := newTest(t)
	err := readBack(db.Read, []pragma{{"jurnal_mode", "WAL", "wal"}})
	if err == nil || !strings.Contains(err.Error(), "jurnal_mode") {
		t.Errorf("got %v, want an error that names jurnal_mode", err)
	}
}

func TestAFileNameMayHoldWhatAURLMayNot(t *testing.T) {
	for _, name := range []string{"a b.db", "100%.db", "a?b=c.db", "a#b.db", "ä.db"} {
		path := filepath.Join(t.TempDir(), name)
		db := openTest(t, path)
		mustExec(t, db, `CREATE TABLE a (b)`)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if size, err := db.Size(); err != nil || size == 0 {
			t.Errorf("%s: size %d, %v", name, size, err)
		}
	}
}

func TestOnlyTheOwnerMayReadTheFiles(t *testing.T) {
	db := newTest(t)
	mustExec(t, db, `CREATE TABLE a (b)`)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		s, err := os.Stat(db.Path() + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %q: got %o, want 600", suffix, got)
		}
	}
}

func TestAReaderCannotWrite(t *testing.T) {
	db := newTest(t)
	if _, err := db.Read.Exec(`CREATE TABLE a (b)`); err == nil {
		t.Error("a reading connection made a table")
	}
}

func TestOpenFailsWhereThereIsNoFolder(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no", "a.db"), Options{}); err == nil {
		t.Error("got no error")
	}
}

func TestATransactionThatFailsLeavesNothing(t *testing.T) {
	db := newTest(t)
	mustExec(t, db, `CREATE TABLE a (b)`)
	boom := errors.New("boom")
	err := db.Tx(t.Context(), func(tx *sql.Tx) error {
		if _, err := tx.Exec(`INSERT INTO a VALUES (1)`); err != nil {
			return err
		}
		return boom
	})
	if err != boom {
		t.Errorf("got %v, want the function's own error", err)
	}
	func() {
		defer func() { recover() }()
		db.Tx(t.Context(), func(tx *sql.Tx) error {
			tx.Exec(`INSERT INTO a VALUES (2)`)
			panic("boom")
		})
	}()
	mustExec(t, db, `INSERT INTO a VALUES (3)`) // the writer is free again
	if got := count(t, db, `SELECT sum(b) FROM a`); got != 3 {
		t.Errorf("got %d, want 3", got)
	}
}

func TestACancelledCallerDoesNotCutATransactionOff(t *testing.T) {
	db := newTest(t)
	mustExec(t, db, `CREATE TABLE a (b)`)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Tx(ctx, func(tx *sql.Tx) error {
		cancel()
		_, err := tx.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
			INSERT INTO a SELECT i FROM n`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := count(t, db, `SELECT count(*) FROM a`); got != 20000 {
		t.Errorf("got %d rows, want 20000", got)
	}
	if err := db.Tx(ctx, func(*sql.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a transaction of an ended context: got %v, want %v", err, context.Canceled)
	}
}

func TestWhatIsCommittedIsThereAfterOpeningAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	first, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, first, `CREATE TABLE a (b)`)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got := count(t, openTest(t, path), `SELECT count(*) FROM a`); got != 0 {
		t.Errorf("got %d rows, want 0", got)
	}
}

func TestErrorsAreClassified(t *testing.T) {
	db := newTest(t)
	mustExec(t, db, `CREATE TABLE a (b PRIMARY KEY, c UNIQUE, d CHECK (d > 0))`)
	mustExec(t, db, `INSERT INTO a VALUES (1, 1, 1)`)
	for query, want := range map[string]bool{
		`INSERT INTO a VALUES (1, 2, 1)`:  true,
		`INSERT INTO a VALUES (2, 1, 1)`:  true,
		`INSERT INTO a VALUES (3, 3, -1)`: false,
	} {
		_, err := db.Write.Exec(query)
		if err == nil || Duplicate(err) != want {
			t.Errorf("%s: Duplicate(%v) is not %v", query, err, want)
		}
	}
	if _, err := db.Write.Exec(`PRAGMA max_page_count = 10`); err != nil {
		t.Fatal(err)
	}
	_, err := db.Write.Exec(`INSERT INTO a VALUES (9, zeroblob(200000), 1)`)
	if !Full(err) || Corrupt(err) || Duplicate(err) || Busy(err) {
		t.Errorf("%v is not classified as full alone", err)
	}
	for _, is := range []func(error) bool{Full, Corrupt, Duplicate, Busy} {
		if is(nil) || is(errors.New("other")) {
			t.Error("nil or a stranger's error was classified")
		}
	}
}

func TestAWriterThatWaitsTooLongIsToldBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	holder := openTest(t, path)
	second, err := Open(path, Options{BusyTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	err = holder.Tx(t.Context(), func(*sql.Tx) error {
		return second.Tx(t.Context(), func(*sql.Tx) error { return nil })
	})
	if !Busy(err) {
		t.Errorf("got %v, want an error that is busy", err)
	}
}

func TestADamagedFileIsCorrupt(t *testing.T) {
	dir := t.TempDir()
	noDatabase := filepath.Join(dir, "no.db")
	if err := os.WriteFile(noDatabase, []byte(strings.Repeat("not a database. ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(noDatabase, Options{}); !Corrupt(err) {
		t.Errorf("a text file: %v is not corrupt", err)
	}

	damaged := filepath.Join(dir, "damaged.db")
	db, err := Open(damaged, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `CREATE TABLE a (b)`)
	mustExec(t, db, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
		INSERT INTO a SELECT hex(zeroblob(50)) FROM n`)
	if err := db.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	scribble(t, damaged, 40*4096)
	if err := openTest(t, damaged).Check(t.Context()); !Corrupt(err) {
		t.Errorf("a scribbled page: %v is not corrupt", err)
	}
}

func scribble(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("\xff", 4096)), at); err != nil {
		t.Fatal(err)
	}
}
