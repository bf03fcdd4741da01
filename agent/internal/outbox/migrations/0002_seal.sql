-- The number of the key that this outbox is sealed with; 0 = in clear.
ALTER TABLE life ADD COLUMN sealed_with INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoint ADD COLUMN sealed_with INTEGER NOT NULL DEFAULT 0;
ALTER TABLE episode ADD COLUMN sealed_with INTEGER NOT NULL DEFAULT 0;
-- The cloud was not told of the episode's last update: there was no room.
ALTER TABLE episode ADD COLUMN untold INTEGER NOT NULL DEFAULT 0;

-- By which clock records were stamped: wall less monotonic time, and what was
-- known of it: 0 = nothing, 1 = it was synchronised, 2 = corrected since.
CREATE TABLE clock (
	id     INTEGER PRIMARY KEY,
	boot   INTEGER NOT NULL,
	offset INTEGER NOT NULL,
	since  INTEGER NOT NULL, -- monotonic time of the first commit by it
	state  INTEGER NOT NULL
) STRICT;
ALTER TABLE record ADD COLUMN clock INTEGER NOT NULL DEFAULT 0; -- 0 = not known

-- How far the cloud has a lane: acknowledged alerts stay for a while.
ALTER TABLE gone ADD COLUMN acked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gone ADD COLUMN acked_total INTEGER NOT NULL DEFAULT 0;

-- A damaged predecessor whose records are being taken over.
CREATE TABLE salvage (
	id      INTEGER PRIMARY KEY,
	path    TEXT NOT NULL,    -- of the file, in this folder
	lane    INTEGER NOT NULL, -- that is being read
	through INTEGER NOT NULL, -- its last seq that was taken over, in the old numbers
	taken   INTEGER NOT NULL DEFAULT 0,
	lost    INTEGER NOT NULL DEFAULT 0,
	done    INTEGER NOT NULL DEFAULT 0
) STRICT;
