-- Privileges of the roles on everything that the migrations have created, and row-level security on every table with a
-- tenant column. Runs after the migrations, as the owner; whatever the roles had before is replaced.

-- Schema `reads` belongs to the worker, which creates, replaces and drops the tables of read models.
DO $$
DECLARE
    entry record;
BEGIN
    GRANT USAGE, CREATE ON SCHEMA reads TO cartulary_worker;
    FOR entry IN
        SELECT c.oid::regclass AS relation, c.relkind = 'v' AS is_view, c.relname LIKE '%\_build' AS is_unfinished,
               EXISTS (SELECT FROM pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped) AS has_tenant
        FROM pg_class c
        WHERE c.relnamespace = 'reads'::regnamespace AND c.relkind IN ('r', 'v')
          AND pg_get_userbyid(c.relowner) <> 'cartulary_worker'
        ORDER BY c.relname
    LOOP
        IF entry.is_view THEN
            EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', entry.relation);
            EXECUTE format('ALTER VIEW %s OWNER TO cartulary_worker', entry.relation);
        ELSE
            EXECUTE format('ALTER TABLE %s OWNER TO cartulary_worker', entry.relation);
            -- Rows are copied into an unfinished table, which row-level security would refuse.
            IF entry.has_tenant AND NOT entry.is_unfinished THEN
                PERFORM log.protect(entry.relation);
            END IF;
            IF NOT entry.is_unfinished THEN
                EXECUTE format('GRANT SELECT ON %s TO cartulary_reader, cartulary_auditor', entry.relation);
            END IF;
        END IF;
    END LOOP;
    FOR entry IN
        SELECT c.oid::regclass AS relation
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p')
          AND (c.relnamespace IN ('log'::regnamespace, 'work'::regnamespace)
               OR c.relnamespace = 'reads'::regnamespace AND has_table_privilege('cartulary_reader', c.oid, 'SELECT'))
        ORDER BY c.relname
    LOOP
        PERFORM log.protect(entry.relation);
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA log, work FROM PUBLIC, cartulary_scribe, cartulary_worker, cartulary_reader, cartulary_auditor;
GRANT USAGE ON SCHEMA log, reads, work TO cartulary_scribe, cartulary_worker, cartulary_reader, cartulary_auditor;
GRANT SELECT ON _sqlx_migrations TO cartulary_scribe, cartulary_worker, cartulary_reader, cartulary_auditor;

-- The scribe appends. It changes lanes that it owns, and snapshots, which are derived from the log.
GRANT SELECT, INSERT ON log.events, log.receipts, log.person_keys, log.routes TO cartulary_scribe;
GRANT SELECT, INSERT, UPDATE ON log.snapshots TO cartulary_scribe;
GRANT SELECT, INSERT, DELETE ON log.epochs TO cartulary_scribe;
GRANT SELECT, UPDATE ON log.lanes TO cartulary_scribe;
GRANT SELECT, INSERT, UPDATE, DELETE ON work.presences TO cartulary_scribe;

-- The worker reads the log of all tenants and changes what follows from it. It removes the details of old rejections.
GRANT SELECT ON ALL TABLES IN SCHEMA log TO cartulary_worker;
GRANT INSERT ON log.routes TO cartulary_worker;
GRANT UPDATE (detail) ON log.receipts TO cartulary_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA work TO cartulary_worker;

-- The reader: rows of one tenant only, as far as a table has a tenant column.
GRANT SELECT ON log.events, log.receipts, log.snapshots, log.person_keys, log.routes, log.lanes, log.epochs
    TO cartulary_reader;
GRANT INSERT ON log.routes TO cartulary_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA work TO cartulary_reader;
REVOKE SELECT ON work.search_queue FROM cartulary_reader;

-- The auditor reads everything but the keys of persons, the search tokens that go with them, and the snapshots, which
-- repeat what the events say.
GRANT SELECT ON ALL TABLES IN SCHEMA log, work TO cartulary_auditor;
REVOKE SELECT ON log.person_keys, log.snapshots, work.search_tokens, work.search_queue FROM cartulary_auditor;
