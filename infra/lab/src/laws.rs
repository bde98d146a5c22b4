//! The laws that a log must keep, whatever happened to it.

use anyhow::{Context, Result, ensure};
use sqlx::PgPool;

/// What can never be found in a log, each as a question for the number of places where it is found.
const BROKEN: &[(&str, &str)] = &[
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
        "a command that has a hole or an event twice",
        "SELECT count(*) FROM (SELECT FROM log.events GROUP BY tenant, principal, command_id
         HAVING min(command_index) <> 0 OR max(command_index) + 1 <> count(*)
             OR count(DISTINCT (recorded_at, epoch)) <> 1) t",
    ),
    (
        "a command that was both refused and carried out",
        "SELECT count(*) FROM log.receipts r JOIN log.events e USING (tenant, principal, command_id)",
    ),
    (
        "time that goes backwards within a lane",
        "SELECT count(*) FROM (SELECT recorded_at < lag(recorded_at) OVER (PARTITION BY lane ORDER BY position) AS back
         FROM log.events) t WHERE back",
    ),
    (
        "a lane and its tenants in different order",
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
        // Every event that moves units; no test forces a count below what is set aside.
        "a stock item that gave away more than it had",
        "SELECT count(*) FROM (SELECT sum(CASE
             WHEN type IN ('stock.received', 'stock.returned', 'stock.reservation_released', 'stock.reservation_expired')
                 THEN (payload->>'units')::bigint
             WHEN type IN ('stock.adjusted', 'stock.counted') THEN (payload->>'change')::bigint
             WHEN type = 'stock.reserved' THEN -(payload->>'units')::bigint ELSE 0 END)
             OVER (PARTITION BY tenant, stream_id ORDER BY sequence) AS available
         FROM log.events WHERE stream_type = 'StockItem') t WHERE available < 0",
    ),
];

/// Holds a log against its laws; an error says which one is broken.
pub async fn keeps_the_laws(pool: &PgPool) -> Result<()> {
    for (what, text) in BROKEN {
        let found: i64 = sqlx::query_scalar(text).fetch_one(pool).await.with_context(|| (*what).to_owned())?;
        ensure!(found == 0, "the log holds {what} ({found} times)");
    }
    Ok(())
}
