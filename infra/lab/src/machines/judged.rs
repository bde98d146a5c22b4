//! What the log came to, held against what callers were told.

use std::collections::BTreeSet;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::PgPool;
use uuid::Uuid;

use super::Findings;
use super::installation::Installation;
use super::load::{Market, Order};
use crate::demo::Claim;
use crate::demo::compared::{rebuilt_equal, settled};
use crate::laws::keeps_the_laws;

/// So many orders are asked for once more, so many at a time.
const ASKED_AGAIN: usize = 400;
const AT_A_TIME: usize = 16;

/// Holds everything against everything. Nobody of the processes is left afterwards.
pub(super) async fn log(
    installation: &mut Installation,
    market: &Market,
    orders: &[Order],
    findings: &mut Findings,
) -> Result<()> {
    findings.says("\nEvery order is looked for in the log, and some are asked for again");
    let step = orders.len().div_ceil(ASKED_AGAIN).max(1);
    let again: Vec<_> = orders.iter().step_by(step).collect();
    let alike = stream::iter(&again).map(|order| market.answers_alike(order)).buffer_unordered(AT_A_TIME);
    let alike = alike.try_fold(0, |sum, alike| async move { Ok(sum + usize::from(alike)) }).await?;
    let pool = installation.pool.clone();
    settled(&pool).await?;
    let (placed, refused): (Vec<_>, Vec<_>) = orders.iter().partition(|order| order.accepted);
    findings.figure("orders placed".into(), placed.len() as f64, "");
    findings.figure("orders refused because there was nothing left".into(), refused.len() as f64, "");
    let tenants = market.tenants();
    for (what, told, text) in [
        (
            "placed orders",
            &placed,
            "SELECT command_id FROM log.events WHERE type = 'order.placed' AND tenant = ANY($1)",
        ),
        ("refusals", &refused, "SELECT command_id FROM log.receipts WHERE code = 'OUT_OF_STOCK' AND tenant = ANY($1)"),
    ] {
        let (lost, beyond) = lost_and_beyond(&pool, text, &tenants, told).await?;
        findings.claim(Claim::equal(&format!("{what} that callers were told and the log lacks"), lost, 0));
        findings.claim(Claim::equal(&format!("{what} in the log twice, or that nobody was told"), beyond, 0));
    }
    findings.claim(Claim::equal(
        "orders that were answered alike when asked again at another node",
        alike,
        again.len(),
    ));
    let laws = keeps_the_laws(&pool).await;
    let found = laws.as_ref().map_or_else(|error| format!("{error:#}"), |()| "all of them".to_owned());
    findings.claim(Claim::that("laws that the log keeps", laws.is_ok(), found));
    // While processes keep the rows, a rebuild may be ahead of them.
    installation.stop().await?;
    findings.says("Read models are built anew");
    for claim in rebuilt_equal(&pool).await? {
        findings.claim(claim);
    }
    pool.close().await;
    Ok(())
}

/// Orders of which callers were told that the log lacks, and what it has beyond one for each of them. Everybody asks until
/// the answer has come, so that in the end nothing is there that nobody was told of.
async fn lost_and_beyond(pool: &PgPool, text: &str, tenants: &[Uuid], told: &[&Order]) -> Result<(usize, usize)> {
    let recorded: Vec<Uuid> = sqlx::query_scalar(text).bind(tenants).fetch_all(pool).await?;
    let known: BTreeSet<Uuid> = recorded.iter().copied().collect();
    let lost = told.iter().filter(|order| !known.contains(&order.id())).count();
    Ok((lost, recorded.len().saturating_sub(told.len() - lost)))
}
