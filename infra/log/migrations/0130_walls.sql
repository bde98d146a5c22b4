-- Puts row-level security in front of a table with a tenant column. Readers see the rows of the tenant that their
-- transaction names, and none if it names no tenant; the roles that work for all tenants and the owner see all rows.
--
-- The setting is empty, not null, after a transaction that had set it. The sub-select is evaluated once per scan.
CREATE FUNCTION log.protect(target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    protected record;
    present text[] := ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = target);
BEGIN
    SELECT relrowsecurity AS is_enabled, relforcerowsecurity AS is_forced, pg_get_userbyid(relowner) AS owner
    INTO protected FROM pg_class WHERE oid = target;
    IF NOT protected.is_enabled THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    END IF;
    IF NOT protected.is_forced THEN
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    END IF;
    IF NOT 'engine' = ANY(present) THEN
        EXECUTE format('CREATE POLICY engine ON %s TO cartulary_scribe, cartulary_worker, cartulary_auditor
                        USING (true) WITH CHECK (true)', target);
    END IF;
    IF NOT 'owner' = ANY(present) THEN
        EXECUTE format('CREATE POLICY owner ON %s TO %I USING (true) WITH CHECK (true)', target, protected.owner);
    END IF;
    IF NOT 'tenant' = ANY(present) THEN
        EXECUTE format('CREATE POLICY tenant ON %1$s TO cartulary_reader
                        USING (tenant = (SELECT nullif(current_setting(''cartulary.tenant'', true), '''')::uuid))
                        WITH CHECK (tenant = (SELECT nullif(current_setting(''cartulary.tenant'', true), '''')::uuid))',
                       target);
    END IF;
END $$;
