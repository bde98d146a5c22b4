-- The read side: how far each read model has come. The tables of the rows themselves are made from the row types.

CREATE SCHEMA reads;

-- One row per read model, shape and lane; written in the transaction that writes the rows.
CREATE TABLE reads.checkpoints (
    model    text     NOT NULL COLLATE "C",
    shape    text     NOT NULL COLLATE "C",
    lane     smallint NOT NULL,
    position bigint   NOT NULL,
    epoch    bigint   NOT NULL,
    PRIMARY KEY (model, shape, lane)
);

-- Which shape of a read model is being served.
CREATE TABLE reads.live (
    model text        PRIMARY KEY COLLATE "C",
    shape text        NOT NULL COLLATE "C",
    since timestamptz NOT NULL
);

-- Events that a model could not fold. Later events of the same key wait behind the first one.
CREATE TABLE reads.parked (
    model     text        NOT NULL COLLATE "C",
    shape     text        NOT NULL COLLATE "C",
    lane      smallint    NOT NULL,
    position  bigint      NOT NULL,
    tenant    uuid        NOT NULL,
    key       text        NOT NULL COLLATE "C",
    reason    text        NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, shape, lane, position, key)
);
CREATE INDEX parked_by_key ON reads.parked (model, shape, tenant, key);
