//! Log invariants: conditions that hold for every log after any sequence of crashes, takeovers and restores.

use anyhow::{Context, Result, ensure};
use sqlx::PgPool;

/// Violations, each with the SQL that counts its occurrences.
const VIOLATIONS: &[(&str, &str)] = &[
    (
        "a lane whose positions are not dense from 1",
        "SELECT count(*) FROM (SELECT FROM log.events GROUP BY lane
         HAVING min(position) <> 1 OR max(position) <> count(DISTINCT position)) t",
    ),
    (
        "a tenant whose positions are not dense from 1",
        "SELECT count(*) FROM (SELECT FROM log.events GROUP BY tenant
         HAVING min(tenant_position) <> 1 OR max(tenant_position) <> count(*)) t",
    ),
    (
        "a stream whose sequence is not dense from 1",
        "SELECT count(*) FROM (SELECT FROM log.events GROUP BY tenant, stream_type, stream_id
         HAVING min(sequence) <> 1 OR max(sequence) <> count(*)) t",
    ),
    (
        "a command with a missing or a repeated event",
        "SELECT count(*) FROM (SELECT FROM log.events GROUP BY tenant, principal, command_id
         HAVING min(command_index) <> 0 OR max(command_index) + 1 <> count(*)
             OR count(DISTINCT (recorded_at, epoch)) <> 1) t",
    ),
    (
        "a command that was both rejected and recorded",
        "SELECT count(*) FROM log.receipts r JOIN log.events e USING (tenant, principal, command_id)",
    ),
    (
        "an event recorded earlier than its predecessor in the lane",
        "SELECT count(*) FROM (SELECT recorded_at < lag(recorded_at) OVER (PARTITION BY lane ORDER BY position) AS back
         FROM log.events) t WHERE back",
    ),
    (
        "a tenant whose order differs from that of its lane",
        "SELECT count(*) FROM (SELECT tenant_position < lag(tenant_position)
             OVER (PARTITION BY tenant ORDER BY position) AS back FROM log.events) t WHERE back",
    ),
    (
        "an event of an epoch that did not own its position",
        "SELECT count(*) FROM log.events e WHERE e.epoch IS DISTINCT FROM
         (SELECT o.epoch FROM log.epochs o WHERE o.lane = e.lane AND o.first_position <= e.position
          ORDER BY o.since DESC LIMIT 1)",
    ),
    (
        "sales receipts of a tenant and a year whose numbers are not dense from 1",
        "SELECT count(*) FROM (SELECT FROM log.events WHERE type = 'sales_receipt.issued' GROUP BY tenant, payload->>'year'
         HAVING min((payload->>'number')::bigint) <> 1 OR max((payload->>'number')::bigint) <> count(*)) t",
    ),
    (
        "a stock item with fewer than zero units on hand",
        "SELECT count(*) FROM (SELECT sum(CASE
             WHEN type IN ('stock.received', 'stock.returned') THEN (payload->>'units')::bigint
             WHEN type IN ('stock.adjusted', 'stock.counted') THEN (payload->>'change')::bigint
             WHEN type = 'stock.reservation_committed' THEN -(payload->>'units')::bigint ELSE 0 END)
             OVER (PARTITION BY tenant, stream_id ORDER BY sequence) AS on_hand
         FROM log.events WHERE stream_type = 'StockItem') t WHERE on_hand < 0",
    ),
    (
        // Lists every event that changes the available units. A count may lower them below zero, which is a shortage; a
        // reservation or an allotment never does.
        "a reservation of more units than the stock item had",
        "SELECT count(*) FROM (SELECT type, sum(CASE
             WHEN type IN ('stock.received', 'stock.returned', 'stock.reservation_released', 'stock.reservation_expired',
                           'stock.allotment_drawn', 'stock.allotment_ended')
                 THEN (payload->>'units')::bigint
             WHEN type IN ('stock.adjusted', 'stock.counted') THEN (payload->>'change')::bigint
             WHEN type IN ('stock.reserved', 'stock.allotted', 'stock.allotment_refilled')
                 THEN -(payload->>'units')::bigint ELSE 0 END)
             OVER (PARTITION BY tenant, stream_id ORDER BY sequence) AS available
         FROM log.events WHERE stream_type = 'StockItem') t
         WHERE type IN ('stock.reserved', 'stock.allotted') AND available < 0",
    ),
    (
        "an allotment from which more units were taken than it had",
        "SELECT count(*) FROM (SELECT sum(CASE
             WHEN type IN ('stock.allotted', 'stock.allotment_refilled') THEN (payload->>'units')::bigint
             WHEN type IN ('stock.allotment_drawn', 'stock.allotment_ended') THEN -(payload->>'units')::bigint
             ELSE 0 END) OVER (PARTITION BY tenant, stream_id ORDER BY sequence) AS allotted
         FROM log.events WHERE stream_type = 'StockItem') t WHERE allotted < 0",
    ),
    (
        "an order that was settled twice, or a settlement whose commission and net amount do not add up",
        "SELECT (SELECT count(*) FROM (SELECT FROM log.events WHERE type = 'settlement.sale_credited'
                 GROUP BY tenant, payload->>'order' HAVING count(*) > 1) t)
              + (SELECT count(*) FROM log.events
                 WHERE type IN ('settlement.sale_credited', 'settlement.refund_debited')
                   AND (payload->'split'->'gross'->>'minor')::bigint
                       <> (payload->'split'->'commission'->>'minor')::bigint
                        + (payload->'split'->'net'->>'minor')::bigint)",
    ),
    (
        "a payout of more than the settlement account had",
        "SELECT count(*) FROM (SELECT type, sum(CASE type
             WHEN 'settlement.sale_credited' THEN (payload->'split'->'net'->>'minor')::bigint
             WHEN 'settlement.refund_debited' THEN -(payload->'split'->'net'->>'minor')::bigint
             WHEN 'settlement.payout_debited' THEN -(payload->'amount'->>'minor')::bigint
             WHEN 'settlement.payout_returned' THEN (payload->'amount'->>'minor')::bigint ELSE 0 END)
             OVER (PARTITION BY tenant, coalesce(payload->'split'->'net', payload->'amount')->>'currency'
                   ORDER BY sequence) AS balance
         FROM log.events WHERE stream_type = 'SettlementAccount') t
         WHERE type = 'settlement.payout_debited' AND balance < 0",
    ),
];

/// Checks every log invariant. The error names the first violation and its number of occurrences.
pub async fn check_log_invariants(pool: &PgPool) -> Result<()> {
    for (violation, text) in VIOLATIONS {
        let count: i64 = sqlx::query_scalar(text).fetch_one(pool).await.with_context(|| (*violation).to_owned())?;
        ensure!(count == 0, "the log contains {violation} ({count} times)");
    }
    Ok(())
}
