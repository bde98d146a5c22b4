-- What must follow from events: how far each policy has come, what waits for its time, and what is done outside.

CREATE SCHEMA work;

-- Written together with what the events up to there asked for, and after what could be done at once was answered.
CREATE TABLE work.policies (
    policy   text     NOT NULL COLLATE "C",
    lane     smallint NOT NULL,
    position bigint   NOT NULL,
    PRIMARY KEY (policy, lane)
) WITH (fillfactor = 50);

-- The histories that policies know of. One that is in the log and not here began after they last looked: where it
-- begins is the last that what they have seen has in common with the log of today.
CREATE TABLE work.epochs (
    lane  smallint NOT NULL,
    epoch bigint   NOT NULL,
    PRIMARY KEY (lane, epoch)
);

-- One row while timers and effects are held back, as they are after a restore until somebody releases them.
CREATE TABLE work.hold (
    one    boolean     PRIMARY KEY DEFAULT true CHECK (one),
    since  timestamptz NOT NULL DEFAULT now(),
    reason text        NOT NULL
);

-- Commands that wait for their time. The id is the command's and its time follows from its cause, so setting a timer
-- again changes nothing. The key is made in order of time: inserting goes to the end of it, firing takes from its
-- beginning, and no second index is needed.
CREATE TABLE work.timers (
    due_at    timestamptz NOT NULL,
    id        uuid        NOT NULL,
    tenant    uuid        NOT NULL,
    causation uuid        NOT NULL,
    policy    text        NOT NULL COLLATE "C",
    command   text        NOT NULL COLLATE "C",
    body      json        NOT NULL,
    PRIMARY KEY (due_at, id)
);

-- What must be done outside. The id is the idempotency key that the partner gets. Whoever works on a row moves its
-- time beyond the longest that this may take; should it die, the row is due again by itself. A row goes when the
-- command that takes note of its outcome was answered.
CREATE TABLE work.effects (
    id        uuid        PRIMARY KEY,
    tenant    uuid        NOT NULL,
    target    text        NOT NULL COLLATE "C",
    due_at    timestamptz NOT NULL,
    asked_at  timestamptz NOT NULL,
    attempts  integer     NOT NULL,
    causation uuid        NOT NULL,
    policy    text        NOT NULL COLLATE "C",
    name      text        NOT NULL COLLATE "C",
    request   json        NOT NULL,
    -- Why the last attempt failed.
    trouble   text,
    outcome   json
);
CREATE INDEX effects_by_partner ON work.effects (tenant, target, due_at);

-- Who does something outside for which tenant, and how that goes: after some failures in a row nothing is asked of it
-- for a while.
CREATE TABLE work.partners (
    tenant      uuid        NOT NULL,
    target      text        NOT NULL COLLATE "C",
    failures    integer     NOT NULL,
    closed_till timestamptz NOT NULL,
    PRIMARY KEY (tenant, target)
);

-- What a policy asked for and the machine could not do; kept for a person to look at.
CREATE TABLE work.failures (
    id        uuid        PRIMARY KEY,
    tenant    uuid        NOT NULL,
    policy    text        NOT NULL COLLATE "C",
    causation uuid        NOT NULL,
    command   text        NOT NULL COLLATE "C",
    body      json        NOT NULL,
    reason    text        NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now()
);
