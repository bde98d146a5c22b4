//! What read models came to, compared between two runs and with a rebuild from the log.
//!
//! With a rebuild every byte must be equal. Two runs of the same demo cannot be: each has its own times, and the flash
//! sale has other winners every time. So between runs the *outline* of each model is compared: its rows without instants,
//! and in the models that name winners without ids and counts of their order; everything else must be equal, row by row.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{self, SHA256};
use projections::kernel::{ColumnType, Model, Models};
use serde_json::{Map, Value};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::Claim;
use views::follower::rebuild_model;
use views::store::{digest, rows};

/// Models whose rows name winners of the flash sale.
const NAME_WINNERS: [&str; 4] = ["Order", "OrderStep", "Reservation", "StockMovement"];
/// Requests run side by side, so two purchases of one customer may be booked in either order.
const COUNT_BOOKINGS: [&str; 1] = ["PointsEntry"];
const SEQUENCE: &str = "sequence";

/// How long policies and read models may take to come to the end of the log, and how long it must stay the end.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
const STILL_FOR: Duration = Duration::from_secs(2);

/// Waits until nothing is written any more and every read model and policy stands where the log ends.
pub(crate) async fn settled(pool: &PgPool) -> Result<()> {
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
        if still_since.elapsed() > STILL_FOR {
            return Ok(());
        }
        ensure!(begun.elapsed() < SETTLED_WITHIN, "read models or policies do not come to the end of the log");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the rows that processes kept are, byte by byte, those that a rebuild from the log gives.
pub(crate) async fn rebuilt_equal(pool: &PgPool) -> Result<Vec<Claim>> {
    let mut different = Vec::new();
    let models = Models::all();
    for model in models.iter() {
        let live = digest(pool, model).await?;
        rebuild_model(pool, model).await?;
        let rebuilt = digest(pool, model).await?;
        if (live.sha256, live.rows) != (rebuilt.sha256, rebuilt.rows) {
            different.push(model.name.clone());
        }
    }
    let count = models.iter().count();
    let text = format!("digests of {count} read models that equal a rebuild from the log");
    Ok(vec![told(&text, count, different)])
}

/// Whether two runs came to the same.
pub(super) async fn outlines_equal(one: &PgPool, other: &PgPool) -> Result<Vec<Claim>> {
    let mut different = Vec::new();
    let models = Models::all();
    for model in models.iter() {
        let (here, there) = (outline(one, model).await?, outline(other, model).await?);
        if here != there {
            different.push(format!("{} ({} rows, {} in one process)", model.name, here.0, there.0));
        }
    }
    let count = models.iter().count();
    let text = format!("outlines of {count} read models that equal those of one process");
    Ok(vec![told(&text, count, different)])
}

fn told(text: &str, count: usize, different: Vec<String>) -> Claim {
    let equal = count - different.len();
    let differ = if different.is_empty() { String::new() } else { format!("; different: {}", different.join(", ")) };
    Claim::that(text, different.is_empty(), format!("{equal}{differ}"))
}

/// How many rows a model has, and the hash of all of them in the order of their outlines.
async fn outline(pool: &PgPool, model: &Model) -> Result<(usize, Vec<u8>)> {
    let rows = rows(pool, model).await?;
    let mut outlines = rows.iter().map(|row| outline_of(model, row)).collect::<Result<Vec<_>>>()?;
    outlines.sort_unstable();
    let mut hash = digest::Context::new(&SHA256);
    for outline in &outlines {
        hash.update(outline.as_bytes());
        hash.update(b"\n");
    }
    Ok((outlines.len(), hash.finish().as_ref().to_vec()))
}

fn outline_of(model: &Model, row: &str) -> Result<String> {
    let mut fields: Map<String, Value> = serde_json::from_str(row).context("a row is no JSON object")?;
    let name = model.name.as_str();
    let (winners, bookings) = (NAME_WINNERS.contains(&name), COUNT_BOOKINGS.contains(&name));
    for column in &model.columns {
        let of_one_run = match column.kind {
            ColumnType::Instant => true,
            ColumnType::Uuid => winners,
            _ => column.name == SEQUENCE && (winners || bookings),
        };
        if of_one_run {
            fields.remove(&column.name);
        }
    }
    Ok(Value::Object(fields).to_string())
}
