-- Streams with an event that a policy cannot read. The policy waits in them from this event on, until it can be read, and
-- reacts to everything else.
CREATE TABLE work.parked (
    policy      text        NOT NULL COLLATE "C",
    lane        smallint    NOT NULL,
    tenant      uuid        NOT NULL,
    stream_type text        NOT NULL COLLATE "C",
    stream_id   uuid        NOT NULL,
    -- Of the first event to which the policy has not reacted.
    position    bigint      NOT NULL,
    reason      text        NOT NULL,
    parked_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (policy, lane, tenant, stream_type, stream_id)
);
