//! Benchmark `fresh`: time from the commit of an event until its row is visible.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use domain::shared::TenantId;
use sqlx::PgConnection;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bench_engine::BenchEngine;
use super::load_generator::{RunLength, percentile};
use super::progress::Progress;
use super::report::Report;
use super::scratch_server::ScratchServer;

/// Commands per second, open loop: they are sent at this rate whether earlier ones are answered or not.
pub(super) const PER_SECOND: u64 = 5_000;
/// Interval between two bursts of commands.
const TICK: Duration = Duration::from_millis(10);
/// Read model whose rows are observed.
pub(super) const MODEL: &str = "StockLevel";

/// Time of an observation, and the checkpoint of the model then: lane and position.
pub(super) type CheckpointSample = (Instant, Vec<(i16, i64)>);
/// Tenant, tenant position and time of the answer to a command.
pub(super) type AnsweredEvent = (TenantId, i64, Instant);

pub(super) async fn run(
    server: &ScratchServer,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let database = server.create_database().await?;
    let engine = Arc::new(BenchEngine::open(&database).await?);
    progress.show(format!("{PER_SECOND} events/s"));
    let stop = CancellationToken::new();
    let watcher = watch(database.connection().await?, stop.clone());
    let adjusting = engine.clone();
    let written = write(length, PER_SECOND, move |number| adjust(adjusting.clone(), number)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    let samples = watcher.await??;
    let lags = lags(&engine, &written, &samples).await?;
    Arc::into_inner(engine).context("a command is still running")?.close().await;
    server.drop_database(database).await?;
    report.figure("commit to visible row at 5,000 events/s, p50", percentile(&lags, 0.5).as_secs_f64() * 1e3, "ms");
    report.figure("commit to visible row at 5,000 events/s, p99", percentile(&lags, 0.99).as_secs_f64() * 1e3, "ms");
    report.figure("commit to visible row, events measured", lags.len() as f64, "");
    Ok(())
}

/// Samples the checkpoints of the model every millisecond until it is stopped.
pub(super) fn watch(
    mut connection: PgConnection,
    stop: CancellationToken,
) -> JoinHandle<Result<Vec<CheckpointSample>>> {
    tokio::spawn(async move {
        let text = "SELECT c.lane, c.position FROM reads.checkpoints c JOIN reads.live USING (model, shape)
                    WHERE model = $1";
        let mut samples = Vec::new();
        while !stop.is_cancelled() {
            let at = sqlx::query_as(text).bind(MODEL).fetch_all(&mut connection).await?;
            samples.push((Instant::now(), at));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(samples)
    })
}

/// Adjusts the stock of a product.
pub(super) async fn adjust(engine: Arc<BenchEngine>, number: usize) -> Result<AnsweredEvent> {
    let (tenant, accepted) = engine.adjust(number).await?;
    Ok((tenant, accepted.tenant_position, Instant::now()))
}

/// Sends commands at a constant rate. Returns those that were answered after the warm-up.
pub(super) async fn write<Sent>(
    length: RunLength,
    per_second: u64,
    send: impl Fn(usize) -> Sent,
) -> Result<Vec<AnsweredEvent>>
where
    Sent: Future<Output = Result<AnsweredEvent>> + Send + 'static,
{
    let from = Instant::now() + length.warm_up;
    let until = from + length.measured;
    let burst = per_second * u64::try_from(TICK.as_millis())? / 1_000;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let mut number = 0;
    while Instant::now() < until {
        ticks.tick().await;
        for _ in 0..burst {
            number += 1;
            running.spawn(send(number));
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

/// Time from the answer to the visible row of each event, in ascending order.
pub(super) async fn lags(
    engine: &BenchEngine,
    written: &[AnsweredEvent],
    samples: &[CheckpointSample],
) -> Result<Vec<Duration>> {
    let text = "SELECT lane, position FROM log.events e
                JOIN unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS w(tenant, tenant_position, number)
                     USING (tenant, tenant_position) ORDER BY w.number";
    let tenants: Vec<Uuid> = written.iter().map(|written| written.0.uuid()).collect();
    let positions: Vec<i64> = written.iter().map(|written| written.1).collect();
    let log_positions: Vec<(i16, i64)> =
        sqlx::query_as(text).bind(tenants).bind(positions).fetch_all(engine.pool()).await?;
    let mut lags = Vec::with_capacity(written.len());
    for ((_, _, answered), (lane, position)) in written.iter().zip(log_positions) {
        // Checkpoints only grow, so the first sample that includes the event is found by binary search.
        let includes =
            |sample: &CheckpointSample| sample.1.iter().any(|(at, reached)| *at == lane && *reached >= position);
        let index = samples.partition_point(|sample| !includes(sample));
        let (when, _) = samples.get(index).context("an event did not become visible")?;
        lags.push(when.saturating_duration_since(*answered));
    }
    lags.sort_unstable();
    Ok(lags)
}
