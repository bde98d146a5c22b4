-- Beginning of the statement that writes one batch. One statement, one round trip, one flush.
--
-- The fence: locks the lanes of the batch at their epochs, in lane order. A lane that another process owns or is taking
-- over is skipped with all its rows. The counts of its rows are compared with what was written at the end.
WITH durable AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'on', true)
), batch AS (
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[])
                  AS b(lane, epoch, recorded_at, events, receipts, snapshots)
), ours AS MATERIALIZED (
    SELECT l.lane, l.epoch, b.events, b.receipts, b.snapshots
    FROM log.lanes l
    JOIN batch b ON b.lane = l.lane AND b.epoch = l.epoch
    CROSS JOIN durable
    WHERE b.recorded_at <= clock_timestamp() + interval '2 seconds'
    ORDER BY l.lane
    FOR UPDATE OF l SKIP LOCKED
)
