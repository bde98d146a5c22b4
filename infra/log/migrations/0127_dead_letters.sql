-- Dead letters: commands of policies that can never be executed, and effects that were refused or given up. An operator
-- requeues or discards them.
ALTER TABLE work.failures RENAME TO dead_letters;
ALTER TABLE work.dead_letters RENAME COLUMN command TO name;
ALTER TABLE work.dead_letters
    -- 'command' or 'effect'
    ADD COLUMN kind        text    NOT NULL DEFAULT 'command' COLLATE "C",
    -- Id shared by everything that followed from one request; rows of earlier versions have none.
    ADD COLUMN correlation uuid,
    ADD COLUMN attempts    integer NOT NULL DEFAULT 1;
-- Commands have names in PascalCase, effects in snake_case.
UPDATE work.dead_letters SET kind = 'effect' WHERE name ~ '^[a-z]';
CREATE INDEX dead_letters_by_tenant ON work.dead_letters (tenant, failed_at);
