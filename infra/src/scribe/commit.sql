-- Writes one batch. One statement, one round trip, one flush.
--
-- The fence: the rows of the batch's lanes are locked at their epoch, in lane order; a lane that is no longer ours, or
-- that somebody is taking over right now, is passed over, and with it all its rows.
WITH durable AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'on', true)
), batch AS (
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[]) AS b(lane, epoch, recorded_at)
), ours AS MATERIALIZED (
    SELECT l.lane, l.epoch
    FROM log.lanes l
    JOIN batch b ON b.lane = l.lane AND b.epoch = l.epoch
    CROSS JOIN durable
    WHERE b.recorded_at <= clock_timestamp() + interval '2 seconds'
    ORDER BY l.lane
    FOR UPDATE OF l SKIP LOCKED
), events AS (
    -- Unnesting in the select list: in FROM, every array would first be copied into a store of its own.
    INSERT INTO log.events
    SELECT e.lane, e.position, o.epoch, e.tenant, e.tenant_position, e.stream_type, e.stream_id, e.sequence,
           e.principal, e.command_id, e.command_index, e.type, e.version, e.payload, e.meta, e.occurred_at,
           e.recorded_at
    FROM (SELECT unnest($4::smallint[]) AS lane, unnest($5::bigint[]) AS position, unnest($6::uuid[]) AS tenant,
                 unnest($7::bigint[]) AS tenant_position, unnest($8::text[]) AS stream_type,
                 unnest($9::uuid[]) AS stream_id, unnest($10::bigint[]) AS sequence, unnest($11::uuid[]) AS principal,
                 unnest($12::uuid[]) AS command_id, unnest($13::smallint[]) AS command_index,
                 unnest($14::text[]) AS type, unnest($15::smallint[]) AS version, unnest($16::json[]) AS payload,
                 unnest($17::json[]) AS meta, unnest($18::timestamptz[]) AS occurred_at,
                 unnest($19::timestamptz[]) AS recorded_at) AS e
    JOIN ours o ON o.lane = e.lane
), receipts AS (
    INSERT INTO log.receipts
    SELECT r.lane, r.tenant, r.principal, r.command_id, r.fingerprint, r.command, r.code, r.retry, r.detail::json,
           r.tenant_position, o.epoch, r.recorded_at
    FROM unnest($20::smallint[], $21::uuid[], $22::uuid[], $23::uuid[], $24::text[], $25::text[], $26::text[],
                $27::text[], $28::text[], $29::bigint[], $30::timestamptz[])
         AS r(lane, tenant, principal, command_id, fingerprint, command, code, retry, detail, tenant_position,
              recorded_at)
    JOIN ours o ON o.lane = r.lane
), snapshots AS (
    INSERT INTO log.snapshots AS known
    SELECT s.lane, s.tenant, s.stream_type, s.stream_id, s.state_version, s.sequence, s.state::json
    FROM unnest($31::smallint[], $32::uuid[], $33::text[], $34::uuid[], $35::integer[], $36::bigint[], $37::text[])
         AS s(lane, tenant, stream_type, stream_id, state_version, sequence, state)
    JOIN ours o ON o.lane = s.lane
    ON CONFLICT (lane, tenant, stream_type, stream_id) DO UPDATE
    SET state_version = excluded.state_version, sequence = excluded.sequence, state = excluded.state
), person_keys AS (
    INSERT INTO log.person_keys
    SELECT k.tenant, k.person, k.wrapped, clock_timestamp()
    FROM unnest($38::smallint[], $39::uuid[], $40::uuid[], $41::bytea[]) AS k(lane, tenant, person, wrapped)
    JOIN ours o ON o.lane = k.lane
    ON CONFLICT DO NOTHING
)
SELECT lane FROM ours
