//! Line 6: how long after its commit an event is seen in a row.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use domain::shared::TenantId;
use sqlx::PgConnection;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::arena::Arena;
use super::clients::{Pace, percentile};
use super::progress::Progress;
use super::report::Report;
use super::shops::Shops;

/// Commands come at this rate, whether they are answered or not.
pub(super) const PER_SECOND: u64 = 5_000;
/// They come in bursts of this distance.
const TICK: Duration = Duration::from_millis(10);
/// The model whose rows are looked at.
pub(super) const MODEL: &str = "StockLevel";

/// When the model stood where: lane and position.
pub(super) type Sight = (Instant, Vec<(i16, i64)>);
/// A tenant, its position, and when it was answered.
pub(super) type Written = (TenantId, i64, Instant);

pub(super) async fn line(arena: &Arena, pace: Pace, progress: &Progress, report: &mut Report) -> Result<()> {
    let database = arena.database().await?;
    let shops = Arc::new(Shops::open(&database).await?);
    progress.says(format!("{PER_SECOND} events/s"));
    let enough = CancellationToken::new();
    let watcher = watch(database.connection().await?, enough.clone());
    let written = write(&shops, pace).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    enough.cancel();
    let sights = watcher.await??;
    let lags = lags(&shops, &written, &sights).await?;
    Arc::into_inner(shops).context("nobody writes any more")?.close().await;
    arena.clear(database).await?;
    report.figure("commit to visible row at 5,000 events/s, p50", percentile(&lags, 0.5).as_secs_f64() * 1e3, "ms");
    report.figure("commit to visible row at 5,000 events/s, p99", percentile(&lags, 0.99).as_secs_f64() * 1e3, "ms");
    report.figure("events of these", lags.len() as f64, "");
    Ok(())
}

/// Notes every millisecond how far the model has come.
pub(super) fn watch(mut connection: PgConnection, enough: CancellationToken) -> JoinHandle<Result<Vec<Sight>>> {
    tokio::spawn(async move {
        let text = "SELECT c.lane, c.position FROM reads.checkpoints c JOIN reads.live USING (model, shape)
                    WHERE model = $1";
        let mut sights = Vec::new();
        while !enough.is_cancelled() {
            let at = sqlx::query_as(text).bind(MODEL).fetch_all(&mut connection).await?;
            sights.push((Instant::now(), at));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(sights)
    })
}

/// Sends commands at a steady rate; those of the warm-up are not told.
pub(super) async fn write(shops: &Arc<Shops>, pace: Pace) -> Result<Vec<Written>> {
    let from = Instant::now() + pace.warm_up;
    let until = from + pace.measured;
    let burst = PER_SECOND * u64::try_from(TICK.as_millis())? / 1_000;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let mut number = 0;
    while Instant::now() < until {
        ticks.tick().await;
        for _ in 0..burst {
            let shops = shops.clone();
            number += 1;
            running.spawn(async move {
                let (tenant, accepted) = shops.adjust(number).await?;
                Ok::<_, anyhow::Error>((tenant, accepted.tenant_position, Instant::now()))
            });
        }
    }
    let mut written = Vec::new();
    while let Some(done) = running.join_next().await {
        let done = done??;
        if done.2 >= from {
            written.push(done);
        }
    }
    Ok(written)
}

/// How long each one took to be seen, in order of length.
pub(super) async fn lags(shops: &Shops, written: &[Written], sights: &[Sight]) -> Result<Vec<Duration>> {
    let text = "SELECT lane, position FROM log.events e
                JOIN unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS w(tenant, tenant_position, number)
                     USING (tenant, tenant_position) ORDER BY w.number";
    let tenants: Vec<Uuid> = written.iter().map(|written| written.0.uuid()).collect();
    let positions: Vec<i64> = written.iter().map(|written| written.1).collect();
    let places: Vec<(i16, i64)> = sqlx::query_as(text).bind(tenants).bind(positions).fetch_all(shops.pool()).await?;
    let mut lags = Vec::with_capacity(written.len());
    for ((_, _, answered), (lane, position)) in written.iter().zip(places) {
        // What was seen only ever grows, so the first sight can be searched for.
        let seen = |sight: &Sight| sight.1.iter().any(|(at, come)| *at == lane && *come >= position);
        let place = sights.partition_point(|sight| !seen(sight));
        let (when, _) = sights.get(place).context("an event was never seen")?;
        lags.push(when.saturating_duration_since(*answered));
    }
    lags.sort_unstable();
    Ok(lags)
}
