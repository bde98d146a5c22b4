-- Webhooks: how far every address outside was told, and what became of it lately. Who is told of what is in the log.

-- One row per subscription that stands; it counts the attempts that were ever made.
CREATE TABLE work.webhooks (
    subscription uuid   PRIMARY KEY,
    tenant       uuid   NOT NULL,
    attempted    bigint NOT NULL DEFAULT 0
);

-- A cursor of a subscription: one for what is new, and one for a range that is sent again. Whoever works on it moves its
-- time beyond the longest that one attempt may take and draws the next turn; should it die, the row is due again by itself,
-- and what it still writes under an older turn has no effect. A cursor that waits for nothing but a person is due never.
CREATE TABLE work.webhook_cursors (
    subscription uuid        NOT NULL REFERENCES work.webhooks ON DELETE CASCADE,
    replay       boolean     NOT NULL,
    tenant       uuid        NOT NULL,
    -- Of the last event that was delivered or is not wanted, among those of the tenant.
    position     bigint      NOT NULL,
    -- Where a range ends, and the position of the event that ordered it.
    upto         bigint,
    ordered      bigint,
    -- How often the next event was tried in vain.
    attempts     integer     NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL,
    turn         bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, replay)
);
CREATE INDEX webhook_cursors_by_time ON work.webhook_cursors (due_at);

-- The last attempts of every subscription, for its tenant to see. Older ones go when new ones come.
CREATE TABLE work.webhook_attempts (
    subscription uuid        NOT NULL REFERENCES work.webhooks ON DELETE CASCADE,
    number       bigint      NOT NULL,
    tenant       uuid        NOT NULL,
    event        uuid        NOT NULL,
    type         text        NOT NULL COLLATE "C",
    position     bigint      NOT NULL,
    replay       boolean     NOT NULL,
    attempt      integer     NOT NULL,
    begun_at     timestamptz NOT NULL,
    took_ms      integer     NOT NULL,
    -- What was answered, and why it counts as failed; nothing where no answer came, and where it was delivered.
    status       smallint,
    trouble      text,
    PRIMARY KEY (subscription, number)
);
