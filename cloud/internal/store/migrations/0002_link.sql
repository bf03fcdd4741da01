-- The gateways' end of the link: how far each lane is durable, and records that
-- this version cannot read.

CREATE TABLE lane (
	gateway TEXT NOT NULL,
	epoch   BLOB NOT NULL,                        -- 16 bytes: one outbox's life
	lane    INTEGER NOT NULL,
	through INTEGER NOT NULL,                     -- durable up to this seq
	hash    BLOB NOT NULL,                        -- the running hash there
	at      INTEGER NOT NULL,                     -- when that was
	PRIMARY KEY (gateway, epoch, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE odd_record (
	gateway  TEXT NOT NULL,
	epoch    BLOB NOT NULL,
	lane     INTEGER NOT NULL,
	seq      INTEGER NOT NULL,
	kind     INTEGER NOT NULL,
	observed INTEGER NOT NULL,
	taken_at INTEGER NOT NULL,
	reason   TEXT NOT NULL,
	payload  BLOB NOT NULL,
	PRIMARY KEY (gateway, epoch, lane, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX odd_record_taken ON odd_record (taken_at);
