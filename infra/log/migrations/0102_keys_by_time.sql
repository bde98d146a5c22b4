-- What is made in order of time comes first in the keys of streams and commands, so that an insert goes to the end of the
-- index whichever tenant it is of (docs/adr/0005).
DO $$
DECLARE
    key record;
BEGIN
    FOR key IN
        SELECT c.conname AS name, c.conrelid::regclass AS partition
        FROM pg_constraint c JOIN pg_inherits i ON i.inhrelid = c.conrelid
        WHERE i.inhparent = 'log.events'::regclass AND c.contype = 'u'
          AND pg_get_constraintdef(c.oid) IN ('UNIQUE (tenant, stream_id, stream_type, sequence)',
                                              'UNIQUE (tenant, command_id, principal, command_index)')
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.partition, key.name);
    END LOOP;
    FOR lane IN 0..15 LOOP
        EXECUTE format('ALTER TABLE log.events_%s ADD UNIQUE (stream_id, tenant, stream_type, sequence),
                                                  ADD UNIQUE (command_id, tenant, principal, command_index)', lane);
    END LOOP;
END $$;
