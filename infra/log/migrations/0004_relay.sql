-- Fan-out: which process puts which lane on Kafka. Safety does not depend on it: two relays at once only repeat records.

CREATE TABLE work.relays (
    lane  smallint    PRIMARY KEY,
    owner text        NOT NULL COLLATE "C",
    lease timestamptz NOT NULL
);

INSERT INTO work.relays SELECT lane, '', '-infinity' FROM log.lanes;
