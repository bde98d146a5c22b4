-- What must follow from events: how far each policy has come, and what waits for its time.

CREATE SCHEMA work;

-- Written after everything that the events before it asked for was answered.
CREATE TABLE work.policies (
    policy   text     NOT NULL COLLATE "C",
    lane     smallint NOT NULL,
    position bigint   NOT NULL,
    PRIMARY KEY (policy, lane)
);

-- Commands that wait for their time. The id is the command's, so setting a timer again changes nothing.
CREATE TABLE work.timers (
    id        uuid        PRIMARY KEY,
    tenant    uuid        NOT NULL,
    policy    text        NOT NULL COLLATE "C",
    causation uuid        NOT NULL,
    due_at    timestamptz NOT NULL,
    command   text        NOT NULL COLLATE "C",
    body      json        NOT NULL
);
CREATE INDEX timers_by_time ON work.timers (due_at);

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
