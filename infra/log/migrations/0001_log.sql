-- The log: what was decided, in order. Insert-only; everything else can be rebuilt from it.

CREATE SCHEMA log;

-- One row per lane; locked by every commit as its fence, changed only when somebody takes the lane over.
CREATE TABLE log.lanes (
    lane   smallint    PRIMARY KEY,
    epoch  bigint      NOT NULL,
    owner  text        NOT NULL COLLATE "C",
    lease  timestamptz NOT NULL,
    -- Where other processes send commands for this lane; empty where nobody else may.
    address text       NOT NULL COLLATE "C" DEFAULT ''
);

-- Every history a lane ever had begins here, so that a reader can find the last position two histories share.
CREATE TABLE log.epochs (
    lane           smallint    NOT NULL,
    epoch          bigint      NOT NULL,
    first_position bigint      NOT NULL,
    since          timestamptz NOT NULL,
    PRIMARY KEY (lane, epoch)
);

-- Which lane a tenant lives in. Filled by hash, kept as a row so that a tenant can be moved.
CREATE TABLE log.routes (
    tenant uuid     PRIMARY KEY,
    lane   smallint NOT NULL
);

-- `json`, not `jsonb`: the text that was written is the text that is hashed, and it is cheaper to write.
-- What is unique, is so within a lane, which is a partition; its indexes are made there, below.
CREATE TABLE log.events (
    lane            smallint    NOT NULL,
    position        bigint      NOT NULL,
    epoch           bigint      NOT NULL,
    tenant          uuid        NOT NULL,
    tenant_position bigint      NOT NULL,
    stream_type     text        NOT NULL COLLATE "C",
    stream_id       uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    principal       uuid        NOT NULL,
    command_id      uuid        NOT NULL,
    command_index   smallint    NOT NULL,
    type            text        NOT NULL COLLATE "C",
    version         smallint    NOT NULL,
    payload         json        NOT NULL,
    meta            json        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL
) PARTITION BY LIST (lane);

-- Rejections, and accepted commands that changed nothing. The receipt of any other command is its events.
CREATE TABLE log.receipts (
    lane            smallint    NOT NULL,
    tenant          uuid        NOT NULL,
    principal       uuid        NOT NULL,
    command_id      uuid        NOT NULL,
    fingerprint     text        NOT NULL COLLATE "C",
    command         text        NOT NULL COLLATE "C",
    code            text        COLLATE "C",
    retry           text        COLLATE "C",
    detail          json,
    tenant_position bigint      NOT NULL,
    epoch           bigint      NOT NULL,
    recorded_at     timestamptz NOT NULL,
    PRIMARY KEY (lane, tenant, principal, command_id)
);

-- Where folding may start instead of at the first event. Never trusted when `state_version` is not the code's.
CREATE TABLE log.snapshots (
    lane          smallint NOT NULL,
    tenant        uuid     NOT NULL,
    stream_type   text     NOT NULL COLLATE "C",
    stream_id     uuid     NOT NULL,
    state_version integer  NOT NULL,
    sequence      bigint   NOT NULL,
    state         json     NOT NULL,
    PRIMARY KEY (lane, tenant, stream_type, stream_id)
);

-- One data key per person and tenant, wrapped by a key that lives outside the database. Not part of the log.
CREATE TABLE log.person_keys (
    tenant  uuid        NOT NULL,
    person  uuid        NOT NULL,
    wrapped bytea       NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, person)
);

-- The keys do not repeat the lane, and begin with what is made in order of time: every event costs four entries, and
-- these are a tenth cheaper (docs/adr/0005).
DO $$
BEGIN
    FOR lane IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE log.events_%s PARTITION OF log.events (
                 PRIMARY KEY (position),
                 UNIQUE (tenant, tenant_position),
                 UNIQUE (tenant, stream_id, stream_type, sequence),
                 UNIQUE (tenant, command_id, principal, command_index)
             ) FOR VALUES IN (%s)', lane, lane);
        INSERT INTO log.lanes VALUES (lane, 0, '', '-infinity');
    END LOOP;
END $$;
