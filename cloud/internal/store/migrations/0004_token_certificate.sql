-- What a token was answered with, so that an answer that was lost is given again
-- as it was.
ALTER TABLE token ADD COLUMN certificate TEXT NOT NULL DEFAULT '';  -- PEM; '' until it was used
