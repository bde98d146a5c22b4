//! Checks after the scenarios: the log against the answers that callers received, log invariants, and read models
//! against a rebuild.

use std::collections::BTreeSet;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::PgPool;
use uuid::Uuid;

use super::ScenarioReport;
use super::installation::Installation;
use super::load::{LoadShops, OrderRequest};
use crate::demo::Check;
use crate::demo::read_model_comparison::{compare_with_rebuild, wait_until_settled};
use crate::log_invariants::check_log_invariants;

/// Number of orders that are sent again, and how many of them concurrently.
const REPEATS: usize = 400;
const CONCURRENCY: usize = 16;

/// Runs all checks. All processes are stopped before the last one.
pub(super) async fn check_results(
    installation: &mut Installation,
    shops: &LoadShops,
    orders: &[OrderRequest],
    report: &mut ScenarioReport,
) -> Result<()> {
    report.log("\nEvery answer is compared with the log, and some orders are sent again");
    let step = orders.len().div_ceil(REPEATS).max(1);
    let repeats: Vec<_> = orders.iter().step_by(step).collect();
    let alike = stream::iter(&repeats).map(|order| shops.is_answered_alike(order)).buffer_unordered(CONCURRENCY);
    let alike = alike.try_fold(0, |sum, alike| async move { Ok(sum + usize::from(alike)) }).await?;
    let pool = installation.pool.clone();
    wait_until_settled(&pool).await?;
    let (placed, rejected): (Vec<_>, Vec<_>) = orders.iter().partition(|order| order.accepted);
    report.figure("orders placed".into(), placed.len() as f64, "");
    report.figure("orders rejected because the product was sold out".into(), rejected.len() as f64, "");
    let sold_out = format!("expected at least 1, found {}", rejected.len());
    report.check(Check::that("orders rejected because the product was sold out", !rejected.is_empty(), sold_out));
    let tenants = shops.tenants();
    for (what, answered, text) in [
        (
            "placed orders",
            &placed,
            "SELECT command_id FROM log.events WHERE type = 'order.placed' AND tenant = ANY($1)",
        ),
        (
            "rejections",
            &rejected,
            "SELECT command_id FROM log.receipts WHERE code = 'OUT_OF_STOCK' AND tenant = ANY($1)",
        ),
    ] {
        let (lost, surplus) = lost_and_surplus(&pool, text, &tenants, answered).await?;
        report.check(Check::equal(&format!("{what} that were answered but are missing in the log"), lost, 0));
        report.check(Check::equal(&format!("{what} that are in the log twice or were never answered"), surplus, 0));
    }
    report.check(Check::equal("orders answered alike when sent again to another node", alike, repeats.len()));
    let invariants = check_log_invariants(&pool).await;
    let result = invariants.as_ref().map_or_else(|error| format!("{error:#}"), |()| "all hold".to_owned());
    report.check(Check::that("log invariants", invariants.is_ok(), result));
    // While processes update the rows, a rebuild may be ahead of them.
    installation.stop().await?;
    report.log("Read models are rebuilt from the log");
    for check in compare_with_rebuild(&pool).await? {
        report.check(check);
    }
    pool.close().await;
    Ok(())
}

/// Number of answered orders that the log lacks, and of entries in the log beyond one for each of them. Callers repeat
/// an order until it is answered, so in the end the log holds no order without an answer.
async fn lost_and_surplus(
    pool: &PgPool,
    text: &str,
    tenants: &[Uuid],
    answered: &[&OrderRequest],
) -> Result<(usize, usize)> {
    let recorded: Vec<Uuid> = sqlx::query_scalar(text).bind(tenants).fetch_all(pool).await?;
    let known: BTreeSet<Uuid> = recorded.iter().copied().collect();
    let lost = answered.iter().filter(|order| !known.contains(&order.id())).count();
    Ok((lost, recorded.len().saturating_sub(answered.len() - lost)))
}
