//! How long after its answer, which follows its commit, an event is seen in a row, with Kafka between.
//!
//! This process writes the log, relays it and reacts to it; another one follows Kafka and keeps the read models.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio_util::sync::CancellationToken;

use super::super::arena::Arena;
use super::super::clients::{Pace, percentile};
use super::super::fresh::{MODEL, PER_SECOND, Written, lags, watch, write};
use super::super::progress::Progress;
use super::super::report::Report;
use super::super::shops::{Shops, on_any_port};
use super::broker::Broker;
use crate::fleet::Fleet;
use cartulary::roles::Roles;
use cartulary::settings::Settings;

/// How long the read models may lag behind before that is an error and no figure.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// At less than this part of the rate the figures would be of another rate.
const RATE_LEAST: f64 = 0.95;
const WRITER: Roles = Roles { front: true, scribe: true, reads: false, policies: true, relay: true, alone: false };

pub(super) async fn line(
    arena: &Arena,
    broker: &Broker,
    pace: Pace,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let database = arena.database().await?;
    let variables = vec![
        ("CARTULARY_DATABASE_URL".to_owned(), database.url.clone()),
        ("CARTULARY_KAFKA_BROKERS".to_owned(), broker.address.clone()),
        ("CARTULARY_KAFKA_TOPIC".to_owned(), "bench.visible".to_owned()),
    ];
    let fleet = Fleet::new(&arena.folder("visible")?, variables)?;
    let settings =
        Settings { kafka_brokers: Some(broker.address.clone()), kafka_topic: "bench.visible".into(), ..on_any_port() };
    let shops = Arc::new(Shops::open_as(&database, settings, WRITER, fleet.outer_key()?).await?);
    let project = fleet.start_ready("project", "project").await?;
    progress.says(format!("{PER_SECOND} events/s through Kafka"));
    let before = project.counted(FROM_KAFKA).await?;
    let enough = CancellationToken::new();
    let watcher = watch(database.connection().await?, enough.clone());
    let written = write(&shops, pace).await?;
    caught_up(&shops).await?;
    enough.cancel();
    let sights = watcher.await??;
    let lags = lags(&shops, &written, &sights).await?;
    let through = project.counted(FROM_KAFKA).await? - before;
    project.stop().await?;
    Arc::into_inner(shops).context("nobody writes any more")?.close().await;
    arena.clear(database).await?;
    ensure!(through >= u64::try_from(lags.len())?, "only {through} of {} events came over Kafka", lags.len());
    let rate = rate(&written)?;
    ensure!(rate >= RATE_LEAST * PER_SECOND as f64, "only {rate:.0} events/s were written");
    let ms = |part: f64| percentile(&lags, part).as_secs_f64() * 1e3;
    report.figure("events/s that were written through Kafka", rate, "");
    report.figure("answer to visible row through Kafka at 5,000 events/s, p50", ms(0.5), "ms");
    report.at_most("answer to visible row through Kafka at 5,000 events/s, p99, ms", ms(0.99), 100.0);
    Ok(())
}

/// How many commands of one event were answered in a second, from the first answer to the last.
fn rate(written: &[Written]) -> Result<f64> {
    let answered = || written.iter().map(|(_, _, answered)| *answered);
    let (first, last) = answered().min().zip(answered().max()).context("nothing was written")?;
    Ok(written.len() as f64 / (last - first).as_secs_f64())
}

const FROM_KAFKA: &str = "cartulary_events_from_kafka_total";

/// Waits until the model stands where the log ends.
async fn caught_up(shops: &Shops) -> Result<()> {
    let text = "SELECT NOT EXISTS (
                    SELECT FROM reads.checkpoints c JOIN reads.live USING (model, shape)
                    WHERE model = $1 AND c.position < (SELECT coalesce(max(e.position), 0) FROM log.events e
                                                       WHERE e.lane = c.lane))";
    let wait = async {
        while !sqlx::query_scalar::<_, bool>(text).bind(MODEL).fetch_one(shops.pool()).await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    tokio::time::timeout(SEEN_WITHIN, wait).await.context("the read models do not keep up at all")?
}
