-- Weaknesses of the walls: whether the engine may start with it, what is wrong, and what to do. One row per weakness.
WITH engine AS (
    SELECT r.oid, r.rolname AS name, r.rolsuper OR r.rolbypassrls AS is_exempt
    FROM pg_roles r WHERE r.rolname = ANY($1)
), owner AS (
    SELECT r.oid, r.rolname AS name, r.rolsuper FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
    WHERE n.nspname = 'log'
), relations AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, n.nspname AS schema, c.relkind, c.relowner,
           c.relrowsecurity AND c.relforcerowsecurity AS is_forced, 'security_invoker=true' = ANY(c.reloptions) AS is_invoker,
           EXISTS (SELECT FROM pg_attribute a
                   WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped) AS has_tenant,
           c.oid = 'log.events'::regclass
               OR EXISTS (SELECT FROM pg_inherits i
                          WHERE i.inhrelid = c.oid AND i.inhparent = 'log.events'::regclass) AS is_log
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('log', 'reads', 'work') AND c.relkind IN ('r', 'p', 'v', 'm')
), grants AS (
    SELECT r.*, acl.privilege_type AS privilege,
           CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee)::text END AS grantee
    FROM relations r
    CROSS JOIN LATERAL (
        SELECT a.grantee, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = r.oid
        UNION
        SELECT a.grantee, a.privilege_type FROM pg_attribute c, aclexplode(c.attacl) a WHERE c.attrelid = r.oid
    ) acl
    WHERE acl.grantee <> r.relowner
), walled AS (
    -- A table that a rebuild is filling is open to no other role yet.
    SELECT * FROM relations r
    WHERE relkind IN ('r', 'p') AND has_tenant
      AND (schema <> 'reads' OR EXISTS (SELECT FROM grants g WHERE g.oid = r.oid))
), keys(columns) AS (
    VALUES ('position'), ('tenant, tenant_position'), ('stream_id, tenant, stream_type, sequence'),
           ('command_id, tenant, principal, command_index')
)
SELECT true AS fatal, format('the role %s does not exist', wanted) AS problem, 'cartulary migrate' AS remedy
FROM unnest($1) AS wanted WHERE wanted NOT IN (SELECT name FROM engine)
UNION ALL
SELECT true, format('the role %s is a superuser or has BYPASSRLS, so row-level security does not apply to it', name),
       format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS', name)
FROM engine WHERE is_exempt
UNION ALL
SELECT true, format('the role %s may act as %s', engine.name, other.name),
       format('REVOKE %I FROM %I', other.name, engine.name)
FROM engine JOIN (SELECT oid, name FROM owner UNION SELECT oid, name FROM engine) other ON other.oid <> engine.oid
WHERE NOT engine.is_exempt AND pg_has_role(engine.oid, other.oid, 'MEMBER')
UNION ALL
SELECT true, format('%s may %s %s', grantee, privilege, name),
       format('REVOKE %s ON %s FROM %s', privilege, name, CASE grantee WHEN 'PUBLIC' THEN grantee ELSE quote_ident(grantee) END)
FROM grants
WHERE is_log AND privilege NOT IN ('SELECT', 'INSERT')
   OR has_tenant AND privilege IN ('TRUNCATE', 'REFERENCES', 'TRIGGER')
UNION ALL
SELECT true, format('%s is owned by %s, not by the owner of the log', r.name, pg_get_userbyid(r.relowner)),
       format('ALTER TABLE %s OWNER TO %I', r.name, owner.name)
FROM relations r CROSS JOIN owner WHERE r.is_log AND r.relowner <> owner.oid
UNION ALL
SELECT true, format('row-level security of %s is not forced', name), 'cartulary migrate'
FROM walled WHERE NOT is_forced
UNION ALL
SELECT true, format('the policy %s of %s lets readers see other rows than those of their tenant', p.polname, w.name),
       format('DROP POLICY %I ON %s', p.polname, w.name)
FROM walled w JOIN pg_policy p ON p.polrelid = w.oid
WHERE p.polpermissive AND (0 = ANY(p.polroles) OR to_regrole('cartulary_reader')::oid = ANY(p.polroles))
  AND pg_get_expr(p.polqual, p.polrelid) IS DISTINCT FROM
      '(tenant = ( SELECT (NULLIF(current_setting(''cartulary.tenant''::text, true), ''''::text))::uuid AS "nullif"))'
UNION ALL
SELECT true, format('%s shows the rows of every tenant with the privileges of its owner', g.name),
       format('ALTER VIEW %s SET (security_invoker = true), or drop it', g.name)
FROM grants g WHERE g.relkind = 'm' OR g.relkind = 'v' AND NOT coalesce(g.is_invoker, false)
UNION ALL
SELECT true, format('the function %s runs with the privileges of its owner', p.oid::regprocedure),
       format('ALTER FUNCTION %s SECURITY INVOKER', p.oid::regprocedure)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('log', 'reads', 'work') AND p.prosecdef
UNION ALL
SELECT true, format('%s has no valid unique index on (%s)', r.name, keys.columns),
       format('CREATE UNIQUE INDEX ON %s (%s)', r.name, keys.columns)
FROM relations r CROSS JOIN keys
WHERE r.is_log AND r.relkind = 'r' AND NOT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = r.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND keys.columns = (SELECT string_agg(a.attname, ', ' ORDER BY k.place)
                          FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
                          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number))
UNION ALL
SELECT false, format('the engine logs in as %s, which %s', login.rolname,
                     CASE WHEN login.rolsuper OR login.rolbypassrls THEN 'is a superuser or has BYPASSRLS'
                          ELSE 'may act as the owner of the log' END),
       'use a login that is only a member of the roles cartulary_…: docs/running.md, Roles of the database'
FROM pg_roles login CROSS JOIN owner
WHERE login.rolname = session_user
  AND (login.rolsuper OR login.rolbypassrls OR pg_has_role(login.oid, owner.oid, 'MEMBER'))
UNION ALL
SELECT false, format('PostgreSQL %s shows statistics of rows behind row-level security (CVE-2025-8713)',
                     current_setting('server_version')),
       'update the server to 15.14, 16.10, 17.6 or later'
WHERE current_setting('server_version_num')::integer NOT BETWEEN 150014 AND 159999
  AND current_setting('server_version_num')::integer NOT BETWEEN 160010 AND 169999
  AND current_setting('server_version_num')::integer < 170006
ORDER BY 1 DESC, 2
