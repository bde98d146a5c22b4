-- The number of lanes is chosen when the log is created: `cartulary migrate --lanes` passes it as a setting of its session,
-- and the first migration has made 16. A log that has been used keeps the lanes it has.
DO $$
DECLARE
    present integer := (SELECT count(*) FROM log.lanes);
    wanted  integer := coalesce(nullif(current_setting('cartulary.lanes', true), '')::integer, present);
BEGIN
    IF EXISTS (SELECT FROM log.routes) OR EXISTS (SELECT FROM log.epochs) OR EXISTS (SELECT FROM reads.checkpoints) THEN
        RETURN;
    END IF;
    FOR number IN wanted..present - 1 LOOP
        EXECUTE format('DROP TABLE log.events_%s', number);
    END LOOP;
    DELETE FROM log.lanes WHERE lane >= wanted;
    DELETE FROM work.relays WHERE lane >= wanted;
    DELETE FROM work.policies WHERE lane >= wanted;
    FOR number IN present..wanted - 1 LOOP
        EXECUTE format(
            'CREATE TABLE log.events_%s PARTITION OF log.events (
                 PRIMARY KEY (position),
                 UNIQUE (tenant, tenant_position),
                 UNIQUE (stream_id, tenant, stream_type, sequence),
                 UNIQUE (command_id, tenant, principal, command_index)
             ) FOR VALUES IN (%s)', number, number);
        INSERT INTO log.lanes (lane, epoch, owner, lease) VALUES (number, 0, '', '-infinity');
        INSERT INTO work.relays (lane, owner, lease) VALUES (number, '', '-infinity');
    END LOOP;
END $$;
