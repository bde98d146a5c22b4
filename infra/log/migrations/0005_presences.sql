-- Who is there: the processes of each role that were heard of lately, so that they can share out the lanes.
CREATE TABLE work.presences (
    role  text        NOT NULL COLLATE "C",
    name  text        NOT NULL COLLATE "C",
    lease timestamptz NOT NULL,
    PRIMARY KEY (role, name)
);
