-- A key that is there already is passed over; another key for the same person is refused, for what was sealed with it
-- could never be read again.
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
