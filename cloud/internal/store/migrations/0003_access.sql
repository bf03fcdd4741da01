-- People, their sessions, and the audit log.

CREATE TABLE person (
	name          TEXT PRIMARY KEY,               -- what they sign in with, lower case
	display       TEXT NOT NULL,
	role          TEXT NOT NULL,
	wards         TEXT NOT NULL,                  -- JSON list of ward ids, or ["*"]
	password_hash TEXT NOT NULL,                  -- argon2id, PHC string
	made_at       INTEGER NOT NULL,
	changed_at    INTEGER NOT NULL,
	disabled_at   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE sign_in_failure (
	id   INTEGER PRIMARY KEY,
	name TEXT NOT NULL,
	at   INTEGER NOT NULL,
	"from" TEXT NOT NULL
) STRICT;
CREATE INDEX sign_in_failure_name ON sign_in_failure (name, at);

CREATE TABLE session (
	token_hash BLOB PRIMARY KEY,                  -- SHA-256 of the token
	id         TEXT NOT NULL UNIQUE,              -- names the session in lists
	person     TEXT NOT NULL REFERENCES person (name),
	made_at    INTEGER NOT NULL,
	used_at    INTEGER NOT NULL,
	ends_at    INTEGER NOT NULL,                  -- absolute
	ended_at   INTEGER NOT NULL DEFAULT 0,
	"from"     TEXT NOT NULL,
	agent      TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX session_person ON session (person);

-- Each row's hash covers its content and the hash of the row before.
CREATE TABLE audit (
	seq     INTEGER PRIMARY KEY,
	at      INTEGER NOT NULL,
	who     TEXT NOT NULL,
	"from"  TEXT NOT NULL,
	what    TEXT NOT NULL,
	"on"    TEXT NOT NULL,
	ward    TEXT NOT NULL,
	outcome TEXT NOT NULL,
	why     TEXT NOT NULL,
	hash    BLOB NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
