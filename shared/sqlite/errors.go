package sqlite

import (
	"errors"
	"syscall"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// errUnsound is what [DB.Check] and [Backup] wrap when pages contradict each
// other, so that [Corrupt] holds for it too.
var errUnsound = errors.New("database is not sound")

// Corrupt says whether err means that the file is damaged or is no database. On
// a gateway the file is then put in quarantine; the cloud stops.
func Corrupt(err error) bool {
	if errors.Is(err, errUnsound) {
		return true
	}
	code := resultCode(err)
	if code == lib.SQLITE_IOERR_CORRUPTFS {
		return true
	}
	return code&0xff == lib.SQLITE_CORRUPT || code&0xff == lib.SQLITE_NOTADB
}

// Full says whether err means that the disk, the quota or the page limit is
// used up: freeing space and trying again may succeed.
func Full(err error) bool {
	return resultCode(err)&0xff == lib.SQLITE_FULL ||
		errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// IO says whether err means that the disk could not be read or written.
func IO(err error) bool { return resultCode(err)&0xff == lib.SQLITE_IOERR }

// ReadOnly says whether err means that the file or its file system is read-only.
func ReadOnly(err error) bool { return resultCode(err)&0xff == lib.SQLITE_READONLY }

// Duplicate says whether err means that a row with the same unique key exists.
func Duplicate(err error) bool {
	switch resultCode(err) {
	case lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return false
}

// Busy says whether err means that another process or connection held its lock
// for longer than [Options.BusyTimeout].
func Busy(err error) bool {
	return resultCode(err)&0xff == lib.SQLITE_BUSY
}

// resultCode is SQLite's extended result code of err, 0 when it has none.
func resultCode(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code()
	}
	return 0
}
