-- When a gateway first connected with a certificate: from then on those that
-- were given to it before are of use to nobody for renewal.
ALTER TABLE certificate ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0; -- 0 = never
