-- Which start of a process it was that was heard of: two processes of one name would else take each other for themselves.
ALTER TABLE work.presences ADD COLUMN start bigint NOT NULL DEFAULT 0;
