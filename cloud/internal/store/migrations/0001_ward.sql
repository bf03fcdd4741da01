-- Gateways, wards and what they tell; alerts and their life; the feed.
-- Times are µs UTC; 0 means never. Flags are 0 or 1.

CREATE TABLE gateway (
	id             TEXT PRIMARY KEY,
	site           TEXT NOT NULL,
	wards          TEXT NOT NULL,                -- JSON list of ward ids: what the token was bound to
	enrolled_at    INTEGER NOT NULL,
	revoked_at     INTEGER NOT NULL DEFAULT 0,
	revoked_why    TEXT NOT NULL DEFAULT '',
	link           TEXT NOT NULL DEFAULT 'never', -- up, down, never
	link_since     INTEGER NOT NULL DEFAULT 0,
	link_why       TEXT NOT NULL DEFAULT '',      -- why it is down, in words
	last_seen      INTEGER NOT NULL DEFAULT 0,
	software       TEXT NOT NULL DEFAULT '',
	config_version TEXT NOT NULL DEFAULT '',
	lanes          TEXT NOT NULL DEFAULT '[]'     -- JSON: what the last Hello said of its lanes
) STRICT;

CREATE TABLE certificate (
	serial      TEXT PRIMARY KEY,                 -- hexadecimal
	gateway     TEXT NOT NULL REFERENCES gateway (id),
	fingerprint TEXT NOT NULL,
	not_before  INTEGER NOT NULL,
	not_after   INTEGER NOT NULL,
	issued_at   INTEGER NOT NULL,
	revoked_at  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX certificate_gateway ON certificate (gateway);

CREATE TABLE token (
	id          TEXT PRIMARY KEY,
	secret_hash BLOB NOT NULL,                    -- SHA-256 of the secret, which has 128 random bits
	gateway     TEXT NOT NULL,
	wards       TEXT NOT NULL,                    -- JSON list
	made_by     TEXT NOT NULL,
	made_at     INTEGER NOT NULL,
	expires_at  INTEGER NOT NULL,
	used_at     INTEGER NOT NULL DEFAULT 0,
	used_key    BLOB NOT NULL DEFAULT x''         -- SHA-256 of the public key that it was used with
) STRICT;

CREATE TABLE ward (
	id   TEXT PRIMARY KEY,
	name TEXT NOT NULL
) STRICT;

-- A bed's number stands for it in the table of vitals. A bed that a gateway no
-- longer names keeps its row, without a gateway, for its history.
CREATE TABLE bed (
	number  INTEGER PRIMARY KEY,
	ward    TEXT NOT NULL,
	bed     TEXT NOT NULL,
	gateway TEXT NOT NULL DEFAULT '',
	sensor  TEXT NOT NULL DEFAULT '',
	patient TEXT NOT NULL DEFAULT '',             -- a pseudonym, never a name
	limits  TEXT NOT NULL DEFAULT '[]',           -- JSON
	expect  TEXT NOT NULL DEFAULT '[]',           -- JSON list of vitals' names
	UNIQUE (ward, bed)
) STRICT;

-- One row is what one bed's sensor measured in one interval. part tells rows of
-- the same interval apart: 0 is the first that came, later ones are back-fill.
CREATE TABLE vitals (
	bed     INTEGER NOT NULL,
	start   INTEGER NOT NULL,
	part    INTEGER NOT NULL,
	payload BLOB NOT NULL,                        -- see vitals.go
	PRIMARY KEY (bed, start, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE hole (
	id      INTEGER PRIMARY KEY,
	gateway TEXT NOT NULL,
	lane    INTEGER NOT NULL,
	from_at INTEGER NOT NULL,
	to_at   INTEGER NOT NULL,
	reason  TEXT NOT NULL
) STRICT;
CREATE INDEX hole_gateway ON hole (gateway, to_at);

CREATE TABLE alert (
	id           TEXT PRIMARY KEY,
	gateway      TEXT NOT NULL,                   -- whose lane it came by; 'cloud' for the cloud's own
	ward         TEXT NOT NULL,
	bed          TEXT NOT NULL,
	rule         TEXT NOT NULL,
	subject      TEXT NOT NULL,                   -- kind:id
	kind         TEXT NOT NULL,
	priority     INTEGER NOT NULL,
	onset        INTEGER NOT NULL,
	ended_at     INTEGER NOT NULL,
	open         INTEGER NOT NULL,
	version      INTEGER NOT NULL,                -- +1 with every change
	paged        INTEGER NOT NULL DEFAULT 0,      -- the highest priority that it paged with; 0 = it did not
	held         INTEGER NOT NULL DEFAULT 0,      -- its page waits for the end of the gateway's fold
	response_n   INTEGER NOT NULL DEFAULT 0,      -- the board's newest event that the gateway must hear
	at_gateway_n INTEGER NOT NULL DEFAULT 0,      -- the newest that it answered for
	state        TEXT NOT NULL                    -- JSON of alert.Alert
) STRICT;
CREATE INDEX alert_ward_onset ON alert (ward, onset, id);
CREATE INDEX alert_bed_onset ON alert (ward, bed, onset, id);
CREATE INDEX alert_onset ON alert (onset, id);
CREATE INDEX alert_open ON alert (ward, onset, id) WHERE open = 1;
CREATE INDEX alert_own ON alert (subject, rule) WHERE open = 1 AND gateway = 'cloud';
CREATE INDEX alert_held ON alert (gateway) WHERE held = 1;

CREATE TABLE alert_event (
	alert  TEXT NOT NULL,
	author TEXT NOT NULL,
	n      INTEGER NOT NULL,
	at     INTEGER NOT NULL,
	event  TEXT NOT NULL,                         -- JSON of alert.Event
	PRIMARY KEY (alert, author, n)
) STRICT, WITHOUT ROWID;

-- A person's act that came with a key has its effect once.
CREATE TABLE act (
	person TEXT NOT NULL,
	key    TEXT NOT NULL,
	alert  TEXT NOT NULL,
	type   TEXT NOT NULL,
	at     INTEGER NOT NULL,
	PRIMARY KEY (person, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX act_at ON act (at);

CREATE TABLE command (
	id       TEXT PRIMARY KEY,
	gateway  TEXT NOT NULL,
	kind     TEXT NOT NULL,
	alert    TEXT NOT NULL DEFAULT '',
	n        INTEGER NOT NULL DEFAULT 0,          -- of an alert event: the board's number
	payload  BLOB NOT NULL,
	made_at  INTEGER NOT NULL,
	deadline INTEGER NOT NULL,                    -- 0 = none
	done_at  INTEGER NOT NULL DEFAULT 0,
	outcome  TEXT NOT NULL DEFAULT '',
	detail   TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX command_pending ON command (gateway, made_at, id) WHERE done_at = 0;
CREATE INDEX command_made ON command (made_at);

-- What must happen later. Swept at start, so nothing due is lost by a restart.
CREATE TABLE timer (
	kind    TEXT NOT NULL,
	subject TEXT NOT NULL,                        -- an alert's or a gateway's id
	due     INTEGER NOT NULL,
	version INTEGER NOT NULL DEFAULT 0,           -- what the timer was set for; checked again when it is due
	PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due);

CREATE TABLE feed (
	seq     INTEGER PRIMARY KEY,
	at      INTEGER NOT NULL,
	kind    TEXT NOT NULL,
	ward    TEXT NOT NULL,                        -- '' concerns every ward
	payload BLOB NOT NULL
) STRICT;

-- The one row that numbers the feed; it is written last in a transaction.
CREATE TABLE feed_head (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	last  INTEGER NOT NULL,
	floor INTEGER NOT NULL                        -- seqs up to here are no longer kept
) STRICT;
INSERT INTO feed_head (one, last, floor) VALUES (1, 0, 0);
