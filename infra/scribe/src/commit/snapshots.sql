, snapshots AS (
    INSERT INTO log.snapshots AS known
    SELECT s.lane, s.tenant, s.stream_type, s.stream_id, s.state_version, s.sequence, s.state::json
    FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[], $5::integer[], $6::bigint[], $7::text[])
         AS s(lane, tenant, stream_type, stream_id, state_version, sequence, state)
    JOIN ours o ON o.lane = s.lane
    ON CONFLICT (lane, tenant, stream_type, stream_id) DO UPDATE
    SET state_version = excluded.state_version, sequence = excluded.sequence, state = excluded.state
    RETURNING 1
)
