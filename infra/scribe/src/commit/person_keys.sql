-- A key that exists already is skipped. Another key for the same person violates the primary key: fields sealed with
-- the key it would replace could never be read again.
, given_keys AS MATERIALIZED (
    SELECT g.*, EXISTS (
        SELECT FROM log.person_keys known
        WHERE known.tenant = g.tenant AND known.person = g.person AND known.wrapped = g.wrapped
    ) AS known
    FROM (SELECT DISTINCT k.tenant, k.person, k.wrapped
          FROM unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::bytea[]) AS k(lane, tenant, person, wrapped)
          JOIN ours o ON o.lane = k.lane) AS g
), person_keys AS (
    INSERT INTO log.person_keys
    SELECT tenant, person, wrapped, transaction_timestamp() FROM given_keys WHERE NOT known
    RETURNING 1
)
