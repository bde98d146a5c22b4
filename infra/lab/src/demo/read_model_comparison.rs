//! Comparison of read models: with a rebuild from the log, and between two runs of the demo.
//!
//! A rebuild must be equal byte by byte. Two runs differ in their times and in the winners of the flash sale, so the
//! *outline* of each model is compared: its rows without instants, and without ids and sequence numbers in the models
//! whose rows depend on the winners. The duration of the sale is left out too. Everything else must be equal, row by row.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{self, SHA256};
use projections::kernel::{ColumnType, Model, Models};
use serde_json::{Map, Value};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use views::follower::rebuild_models;
use views::store::{digest, rows};

use super::Check;

/// Models whose rows contain ids of the flash sale's winners.
const WINNER_MODELS: [&str; 4] = ["Order", "OrderStep", "Reservation", "StockMovement"];
/// Models that number the bookings of a customer. Requests run concurrently, so the order of two bookings may differ.
const NUMBERED_BOOKING_MODELS: [&str; 2] = ["Activity", "PointsEntry"];
/// Column of the sequence number.
const SEQUENCE: &str = "sequence";
/// Column with the duration of a flash sale.
const SOLD_OUT_AFTER: &str = "sold_out_after_s";

/// Time limit for policies and read models to reach the end of the log, and the time for which it must not grow then.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(180);
const QUIET_TIME: Duration = Duration::from_secs(2);

/// Waits until the log no longer grows and every read model and policy has reached its end.
pub(crate) async fn wait_until_settled(pool: &PgPool) -> Result<()> {
    let text = "WITH heads AS (SELECT DISTINCT ON (lane) lane, position FROM log.events ORDER BY lane, position DESC)
                SELECT coalesce(sum(position), 0)::bigint,
                       coalesce(sum(position), 0)::bigint * (SELECT count(*) FROM reads.live)::bigint
                           = (SELECT coalesce(sum(c.position), 0)::bigint
                              FROM reads.checkpoints c JOIN reads.live USING (model, shape))
                       AND NOT EXISTS (SELECT FROM work.policies p JOIN heads USING (lane)
                                       WHERE p.position < heads.position)
                FROM heads";
    let (begun, mut still_since, mut before) = (Instant::now(), Instant::now(), None);
    loop {
        let now: (i64, bool) = sqlx::query_as(text).fetch_one(pool).await?;
        if before != Some(now.0) || !now.1 {
            (before, still_since) = (Some(now.0), Instant::now());
        }
        if still_since.elapsed() > QUIET_TIME {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < SETTLE_TIMEOUT,
            "read models or policies did not reach the end of the log within {SETTLE_TIMEOUT:?}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that the rows of every read model equal those of a rebuild from the log, byte by byte.
pub(crate) async fn compare_with_rebuild(pool: &PgPool) -> Result<Vec<Check>> {
    let (mut different, mut live) = (Vec::new(), Vec::new());
    let models = Models::all();
    for model in models.iter() {
        live.push(digest(pool, model).await?);
    }
    rebuild_models(pool, &models.iter().collect::<Vec<_>>()).await?;
    for (model, live) in models.iter().zip(live) {
        let rebuilt = digest(pool, model).await?;
        if (live.sha256, live.rows) != (rebuilt.sha256, rebuilt.rows) {
            different.push(model.name.clone());
        }
    }
    let count = models.iter().count();
    let text = format!("digests of {count} read models that equal a rebuild from the log");
    Ok(vec![comparison_check(&text, count, different)])
}

/// Checks that the outlines of every read model are equal in two runs.
pub(super) async fn compare_outlines(one: &PgPool, other: &PgPool) -> Result<Vec<Check>> {
    let mut different = Vec::new();
    let models = Models::all();
    for model in models.iter() {
        let (first, second) = (model_outline(one, model).await?, model_outline(other, model).await?);
        if first != second {
            different.push(format!("{} ({} rows, {} in one process)", model.name, first.0, second.0));
        }
    }
    let count = models.iter().count();
    let text = format!("outlines of {count} read models that equal those of one process");
    Ok(vec![comparison_check(&text, count, different)])
}

fn comparison_check(text: &str, count: usize, different: Vec<String>) -> Check {
    let equal = count - different.len();
    let differ = if different.is_empty() { String::new() } else { format!("; different: {}", different.join(", ")) };
    Check::that(text, different.is_empty(), format!("{equal}{differ}"))
}

/// Number of rows of a model, and the hash of their sorted outlines.
async fn model_outline(pool: &PgPool, model: &Model) -> Result<(usize, Vec<u8>)> {
    let rows = rows(pool, model).await?;
    let mut outlines = rows.iter().map(|row| row_outline(model, row)).collect::<Result<Vec<_>>>()?;
    outlines.sort_unstable();
    let mut hash = digest::Context::new(&SHA256);
    for outline in &outlines {
        hash.update(outline.as_bytes());
        hash.update(b"\n");
    }
    Ok((outlines.len(), hash.finish().as_ref().to_vec()))
}

fn row_outline(model: &Model, row: &str) -> Result<String> {
    let mut fields: Map<String, Value> = serde_json::from_str(row).context("a row is not a JSON object")?;
    let name = model.name.as_str();
    let (winners, bookings) = (WINNER_MODELS.contains(&name), NUMBERED_BOOKING_MODELS.contains(&name));
    for column in &model.columns {
        let differs_between_runs = match column.kind {
            ColumnType::Instant => true,
            ColumnType::Uuid => winners,
            _ => column.name == SOLD_OUT_AFTER || column.name == SEQUENCE && (winners || bookings),
        };
        if differs_between_runs {
            fields.remove(&column.name);
        }
    }
    Ok(Value::Object(fields).to_string())
}
