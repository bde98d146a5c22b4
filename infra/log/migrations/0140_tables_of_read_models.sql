-- Tables of read models. Each is named by its shape; a process marks those that it uses, and one that no process uses and
-- that is not served is dropped after a day.
CREATE TABLE reads.tables (
    model   text        NOT NULL COLLATE "C",
    -- As in `reads.checkpoints`: the shape, followed by `_build` while a table is filled beside the served one, and by
    -- `_previous` after a rebuild has replaced it.
    shape   text        NOT NULL COLLATE "C",
    name    text        NOT NULL COLLATE "C",
    -- Time at which the table was made or put into its place.
    made_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, shape)
);

INSERT INTO reads.tables (model, shape, name)
SELECT DISTINCT model, shape, lower(regexp_replace(model, '([a-z0-9])([A-Z])', '\1_\2', 'g')) || '_' || shape
FROM reads.checkpoints;
