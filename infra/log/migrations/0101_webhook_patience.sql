-- What has to be known of a cursor so that slow addresses leave room for others, and nobody talks his way out of waiting.

ALTER TABLE work.webhook_cursors
    -- Whether the last attempt took long, whatever came of it.
    ADD COLUMN slow   boolean NOT NULL DEFAULT false,
    -- The position of the event that last ended the waiting after a failure, among those of the tenant.
    ADD COLUMN mended bigint  NOT NULL DEFAULT 0;
