package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"sort"
	"strconv"
)

// ErrNewer means that a newer version of this program has migrated the
// database. This one must leave it alone.
var ErrNewer = errors.New("the database was written by a newer version of this program")

// A migration is one step of a schema.
type migration struct {
	version  int
	name     string // the file's
	checksum string // SHA-256 of the file, in hexadecimal
	sql      string
}

var migrationName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

// Migrate brings the schema forward to the last of the files in the root of
// files, named NNNN_name.sql and numbered from 0001 without a hole. Each is run
// in a transaction of its own, together with the row that records its name and
// checksum; so after a crash or an error the schema is at some whole version,
// and Migrate may be called again.
//
// It returns an error that wraps [ErrNewer] when the database is ahead of
// files, and changes nothing when a migration that was applied has since been
// renamed or edited.
func Migrate(db *DB, files fs.FS) error {
	if err := migrate(db, files); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func migrate(db *DB, files fs.FS) error {
	want, err := readMigrations(files)
	if err != nil {
		return err
	}
	have, err := applied(db)
	if err != nil {
		return err
	}
	if err := compare(have, want); err != nil {
		return err
	}
	for _, m := range want[len(have):] {
		if err := apply(db, m); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var out []migration
	for i, name := range names {
		match := migrationName.FindStringSubmatch(name)
		if match == nil {
			return nil, fmt.Errorf("%s is not named like 0001_what_it_does.sql", name)
		}
		version, err := strconv.Atoi(match[1])
		if err != nil {
			return nil, err
		}
		if version != i+1 {
			return nil, fmt.Errorf("%s stands where %04d is due", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		out = append(out, migration{version, name, hex.EncodeToString(sum[:]), string(text)})
	}
	if len(out) == 0 {
		return nil, errors.New("no migrations to apply")
	}
	return out, nil
}

// applied lists what the database has, first to last.
func applied(db *DB) ([]migration, error) {
	var there bool
	err := db.Read.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'schema_migration'`).Scan(&there)
	if err != nil || !there {
		return nil, err
	}
	rows, err := db.Read.Query(`SELECT version, name, checksum FROM schema_migration ORDER BY version`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []migration
	for rows.Next() {
		var m migration
		if err := rows.Scan(&m.version, &m.name, &m.checksum); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, rows.Err()
}

func compare(have, want []migration) error {
	if len(have) > len(want) {
		return fmt.Errorf("schema %d is ahead of %d: %w", len(have), len(want), ErrNewer)
	}
	for i, h := range have {
		w := want[i]
		if h.name != w.name {
			return fmt.Errorf("migration %d was applied as %s and is now called %s", i+1, h.name, w.name)
		}
		if h.checksum != w.checksum {
			return fmt.Errorf("%s was edited after it was applied", h.name)
		}
	}
	return nil
}

const migrationTable = `CREATE TABLE IF NOT EXISTS schema_migration (
	version  INTEGER PRIMARY KEY,
	name     TEXT NOT NULL,
	checksum TEXT NOT NULL
) STRICT`

func apply(db *DB, m migration) error {
	return db.Tx(context.Background(), func(tx *sql.Tx) error {
		if _, err := tx.Exec(migrationTable); err != nil {
			return err
		}
		if _, err := tx.Exec(m.sql); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO schema_migration (version, name, checksum) VALUES ($1, $2, $3)`,
			m.version, m.name, m.checksum)
		return err
	})
}

// Version is the number of the last migration applied to db, 0 when none is.
func Version(db *DB) (int, error) {
	have, err := applied(db)
	return len(have), err
}
