, receipts AS (
    INSERT INTO log.receipts
    SELECT r.lane, r.tenant, r.principal, r.command_id, r.fingerprint, r.command, r.code, r.retry, r.detail::json,
           r.tenant_position, r.epoch, r.recorded_at
    FROM unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::timestamptz[])
         AS r(lane, tenant, principal, command_id, fingerprint, command, code, retry, detail, tenant_position,
              epoch, recorded_at)
    JOIN ours o ON o.lane = r.lane
    RETURNING 1
)
