//! Streams without a current snapshot that are longer than what one round of loads reads.

use anyhow::Result;
use lab::harness::{Backend, database};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::json;

/// More events than two rounds read.
const EVENTS: i64 = 45_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_stream_is_folded_over_several_rounds_of_loads() -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let shop = backend.shop(1).await?;
    backend.close().await;
    let text = "INSERT INTO log.events
                SELECT last.lane, head.position + n, last.epoch, last.tenant, last.tenant_position + n, last.stream_type,
                       last.stream_id, last.sequence + n, last.principal, gen_random_uuid(), 0, 'stock.received', 1,
                       '{\"units\":1}', last.meta, last.occurred_at, last.recorded_at
                FROM (SELECT * FROM log.events WHERE tenant = $1 AND stream_id = $2 ORDER BY sequence DESC LIMIT 1) last
                CROSS JOIN LATERAL (SELECT max(position) AS position FROM log.events WHERE lane = last.lane) head
                CROSS JOIN generate_series(1, $3) AS n";
    let pool = platform::database::connect(&url).await?;
    let inserted =
        sqlx::query(text).bind(shop.tenant.uuid()).bind(shop.item.uuid()).bind(EVENTS).execute(&pool).await?;
    assert_eq!(inserted.rows_affected(), EVENTS.unsigned_abs());

    // The reservation succeeds only if every event was folded.
    let backend = Backend::start(&url).await?;
    let all = json!({ "item": shop.item, "reservation": new_id(), "units": EVENTS + 1 });
    backend.execute(shop.tenant, "ReserveStock", &all).await?;
    check_log_invariants(&backend.pool).await?;
    backend.close().await;
    Ok(())
}
