package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"wardline/shared/sqlite"
)

// Migrate brings the database at path forward and says from which schema to
// which. It fails with [ErrNone] when there is none, or an empty one.
func Migrate(path string) (from, to int, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, 0, ErrNone
	}
	db, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return 0, 0, damage(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if from, err = sqlite.Version(db); err != nil || from == 0 {
		return 0, 0, cmp.Or(damage(err), ErrNone)
	}
	if err := sqlite.Migrate(db, Migrations()); err != nil {
		return from, from, damage(err)
	}
	to, err = sqlite.Version(db)
	return from, to, err
}

// Backup writes a copy of the database at path, as it is at one instant, to dest,
// which must not exist. A cloud that runs on it goes on meanwhile.
func Backup(ctx context.Context, path, dest string) (err error) {
	if _, err := os.Stat(path); err != nil {
		return err // opening would make an empty one
	}
	db, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return damage(sqlite.Backup(ctx, db, dest))
}

// ErrExists means that a database is there already.
var ErrExists = errors.New("a database is there already")

// Restore puts a backup in the place of a database that is not there: it never
// overwrites one. The copy is checked whole and brought forward before it
// appears under its name.
func Restore(ctx context.Context, backup, path string) (err error) {
	for _, file := range []string{path, path + "-wal"} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%s: %w", file, ErrExists))
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".restore-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "copy.db")
	if err := copyFile(backup, copied); err != nil {
		return err
	}
	if err := checkWhole(ctx, copied); err != nil {
		return fmt.Errorf("%s: %w", backup, err)
	}
	// SQLite's own copy is synced and renamed into place.
	return Backup(ctx, copied, path)
}

// checkWhole reads every page of a copy and brings its schema forward.
func checkWhole(ctx context.Context, path string) (err error) {
	db, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return damage(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Check(ctx); err != nil {
		return damage(err)
	}
	if n, err := sqlite.Version(db); err != nil || n == 0 {
		return errors.Join(err, errors.New("it is not a backup of the cloud's database"))
	}
	return sqlite.Migrate(db, Migrations())
}

// copyFile copies a file that no process has open as a database.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
