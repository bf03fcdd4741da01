package sqlite

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func schema(texts ...string) fstest.MapFS {
	files := fstest.MapFS{}
	names := []string{"0001_first.sql", "0002_second.sql", "0003_third.sql"}
	for i, text := range texts {
		files[names[i]] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func TestMigrationsAreAppliedOnceInOrder(t *testing.T) {
	db := newTest(t)
	if err := Migrate(db, schema(`CREATE TABLE a (b)`)); err != nil {
		t.Fatal(err)
	}
	grown := schema(`CREATE TABLE a (b)`, `INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)`)
	for range 2 {
		if err := Migrate(db, grown); err != nil {
			t.Fatal(err)
		}
	}
	if got := count(t, db, `SELECT count(*) FROM a`); got != 2 {
		t.Errorf("got %d rows, want 2", got)
	}
	if got, err := Version(db); err != nil || got != 2 {
		t.Errorf("got version %d, %v, want 2", got, err)
	}
}

func TestAnOlderBinaryLeavesANewerSchemaAlone(t *testing.T) {
	db := newTest(t)
	if err := Migrate(db, schema(`CREATE TABLE a (b)`, `CREATE TABLE c (d)`)); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(db, schema(`CREATE TABLE a (b)`)); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v, want %v", err, ErrNewer)
	}
}

func TestAMigrationThatFailsLeavesTheVersionBefore(t *testing.T) {
	db := newTest(t)
	err := Migrate(db, schema(`CREATE TABLE a (b)`, `CREATE TABLE c (d); INSERT INTO nowhere VALUES (1)`))
	if err == nil || !strings.Contains(err.Error(), "0002_second.sql") {
		t.Errorf("got %v, want an error that names the file", err)
	}
	if got, err := Version(db); err != nil || got != 1 {
		t.Errorf("got version %d, %v, want 1", got, err)
	}
	if got := count(t, db, `SELECT count(*) FROM sqlite_schema WHERE name = 'c'`); got != 0 {
		t.Error("half a migration was kept")
	}
	if err := Migrate(db, schema(`CREATE TABLE a (b)`, `CREATE TABLE c (d)`)); err != nil {
		t.Errorf("after mending: %v", err)
	}
}

func TestAHistoryThatWasRewrittenIsRefused(t *testing.T) {
	db := newTest(t)
	if err := Migrate(db, schema(`CREATE TABLE a (b)`)); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(db, schema(`CREATE TABLE a (b, c)`)); err == nil || !strings.Contains(err.Error(), "edited") {
		t.Errorf("edited: got %v", err)
	}
	renamed := fstest.MapFS{"0001_other.sql": {Data: []byte(`CREATE TABLE a (b)`)}}
	if err := Migrate(db, renamed); err == nil || !strings.Contains(err.Error(), "0001_other.sql") {
		t.Errorf("renamed: got %v", err)
	}
}

func TestMigrationFilesAreNumberedWithoutAHole(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"none":     {},
		"hole":     {"0001_a.sql": {}, "0003_b.sql": {}},
		"twice":    {"0001_a.sql": {}, "0001_b.sql": {}},
		"from 0":   {"0000_a.sql": {}},
		"no title": {"0001.sql": {}},
		"capital":  {"0001_A.sql": {}},
	} {
		if err := Migrate(newTest(t), files); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
