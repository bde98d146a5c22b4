-- A key that exists already is skipped. Another key for the same person violates the primary key: fields sealed with
-- the key it would replace could never be read again.
, person_keys AS (
    INSERT INTO log.person_keys
    SELECT DISTINCT k.tenant, k.person, k.wrapped, transaction_timestamp()
    FROM unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::bytea[]) AS k(lane, tenant, person, wrapped)
    JOIN ours o ON o.lane = k.lane
    WHERE NOT EXISTS (
        SELECT FROM log.person_keys known
        WHERE known.tenant = k.tenant AND known.person = k.person AND known.wrapped = k.wrapped
    )
)
