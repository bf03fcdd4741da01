-- The outbox's one life: a new epoch begins when the cloud knows another history.
CREATE TABLE life (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	epoch BLOB NOT NULL CHECK (length(epoch) = 16)
) STRICT;

-- One row a commit, with the instant at which it was decided and the messages
-- that it was decided from. total is the size of all batches so far, so that
-- what is kept is last - first and no commit needs to count.
CREATE TABLE batch (
	n            INTEGER PRIMARY KEY,
	boot         INTEGER NOT NULL,
	mono         INTEGER NOT NULL,
	wall         INTEGER NOT NULL,
	synchronised INTEGER NOT NULL,
	total        INTEGER NOT NULL,
	sealed_with  INTEGER NOT NULL DEFAULT 0, -- the key's number; 0 = in clear
	frames       BLOB NOT NULL
) STRICT;

-- What the cloud is owed, by lane. total as in batch, for the lane.
CREATE TABLE record (
	lane        INTEGER NOT NULL,
	seq         INTEGER NOT NULL CHECK (seq > 0),
	kind        INTEGER NOT NULL,
	observed    INTEGER NOT NULL,
	hash        BLOB NOT NULL,
	total       INTEGER NOT NULL,
	sealed_with INTEGER NOT NULL DEFAULT 0,
	payload     BLOB NOT NULL,
	PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;

-- Where each lane's kept records begin: through is the last that is gone, with
-- its hash and total, so that an empty lane goes on with its numbers.
CREATE TABLE gone (
	lane    INTEGER PRIMARY KEY,
	through INTEGER NOT NULL,
	hash    BLOB NOT NULL,
	total   INTEGER NOT NULL,
	evicted INTEGER NOT NULL DEFAULT 0 -- records that left unacknowledged, ever
) STRICT;

CREATE TABLE checkpoint (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	batch INTEGER NOT NULL,
	state BLOB NOT NULL
) STRICT;

CREATE TABLE episode (
	id    TEXT PRIMARY KEY,
	state BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE command (
	id TEXT PRIMARY KEY,
	at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX command_at ON command (at);
