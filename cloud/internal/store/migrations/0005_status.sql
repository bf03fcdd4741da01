-- What the running cloud said of itself last, for whoever asks beside it.
CREATE TABLE status (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	at    INTEGER NOT NULL,
	state TEXT NOT NULL                           -- JSON
) STRICT;
