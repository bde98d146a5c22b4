, events AS (
    -- Unnesting in the select list: in FROM, every array would first be copied into a store of its own.
    INSERT INTO log.events
    SELECT e.lane, e.position, o.epoch, e.tenant, e.tenant_position, e.stream_type, e.stream_id, e.sequence,
           e.principal, e.command_id, e.command_index, e.type, e.version, e.payload, e.meta, e.occurred_at,
           e.recorded_at
    FROM (SELECT unnest($1::smallint[]) AS lane, unnest($2::bigint[]) AS position, unnest($3::uuid[]) AS tenant,
                 unnest($4::bigint[]) AS tenant_position, unnest($5::text[]) AS stream_type,
                 unnest($6::uuid[]) AS stream_id, unnest($7::bigint[]) AS sequence, unnest($8::uuid[]) AS principal,
                 unnest($9::uuid[]) AS command_id, unnest($10::smallint[]) AS command_index,
                 unnest($11::text[]) AS type, unnest($12::smallint[]) AS version, unnest($13::json[]) AS payload,
                 unnest($14::json[]) AS meta, unnest($15::timestamptz[]) AS occurred_at,
                 unnest($16::timestamptz[]) AS recorded_at) AS e
    JOIN ours o ON o.lane = e.lane
    RETURNING 1
)
