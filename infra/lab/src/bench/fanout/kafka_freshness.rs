//! Freshness over Kafka: time from the answer to a command, which follows its commit, until its row is visible.
//!
//! This process runs API, scribe, relay and policies; another one runs the read models from Kafka.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::roles::Roles;
use cartulary::settings::Settings;
use tokio_util::sync::CancellationToken;

use super::super::bench_engine::{BenchEngine, on_any_port};
use super::super::freshness::{AnsweredEvent, MODEL, PER_SECOND, adjust, lags, watch, write};
use super::super::load_generator::{RunLength, percentile};
use super::super::progress::Progress;
use super::super::report::Report;
use super::super::scratch_server::ScratchServer;
use super::broker::KafkaBroker;
use crate::fleet::Fleet;

/// Time limit for the read models to reach the end of the log.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(30);
/// Least achieved part of the intended rate; below it the measurement is an error.
const RATE_LEAST: f64 = 0.95;
const WRITER: Roles = Roles { serve: true, scribe: true, project: false, policies: true, relay: true, alone: false };

pub(super) async fn run(
    server: &ScratchServer,
    broker: &KafkaBroker,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let database = server.create_database().await?;
    let variables = vec![
        ("CARTULARY_DATABASE_URL".to_owned(), database.url.clone()),
        ("CARTULARY_KAFKA_BROKERS".to_owned(), broker.address.clone()),
        ("CARTULARY_KAFKA_TOPIC".to_owned(), "bench.freshness".to_owned()),
    ];
    let fleet = Fleet::new(&server.create_folder("freshness")?, variables)?;
    let settings = Settings {
        kafka_brokers: Some(broker.address.clone()),
        kafka_topic: "bench.freshness".into(),
        ..on_any_port()
    };
    let engine = Arc::new(BenchEngine::open_as(&database, settings, WRITER, fleet.outer_key()?).await?);
    let project = fleet.start_ready("project", "project").await?;
    progress.show(format!("{PER_SECOND} events/s through Kafka"));
    let before = project.metric_sum(EVENTS_FROM_KAFKA).await?;
    let stop = CancellationToken::new();
    let watcher = watch(database.connection().await?, stop.clone());
    let adjusting = engine.clone();
    let written = write(length, PER_SECOND, move |number| adjust(adjusting.clone(), number)).await?;
    wait_until_caught_up(&engine).await?;
    stop.cancel();
    let samples = watcher.await??;
    let lags = lags(&engine, &written, &samples).await?;
    let from_kafka = project.metric_sum(EVENTS_FROM_KAFKA).await? - before;
    project.stop().await?;
    Arc::into_inner(engine).context("a command is still running")?.close().await;
    server.drop_database(database).await?;
    ensure!(from_kafka >= u64::try_from(lags.len())?, "only {from_kafka} of {} events arrived over Kafka", lags.len());
    let rate = rate(&written)?;
    ensure!(rate >= RATE_LEAST * PER_SECOND as f64, "only {rate:.0} events/s were written");
    let ms = |part: f64| percentile(&lags, part).as_secs_f64() * 1e3;
    report.figure("events/s written through Kafka", rate, "");
    report.figure("answer to visible row through Kafka at 5,000 events/s, p50", ms(0.5), "ms");
    report.at_most("answer to visible row through Kafka at 5,000 events/s, p99, ms", ms(0.99), 100.0);
    Ok(())
}

/// Answered commands per second, from the first answer to the last.
fn rate(written: &[AnsweredEvent]) -> Result<f64> {
    let answered = || written.iter().map(|(_, _, answered)| *answered);
    let (first, last) = answered().min().zip(answered().max()).context("no command was answered")?;
    Ok(written.len() as f64 / (last - first).as_secs_f64())
}

/// Metric: events that read models and policies received over Kafka.
const EVENTS_FROM_KAFKA: &str = "cartulary_events_from_kafka_total";

/// Waits until the read model has reached the end of the log.
async fn wait_until_caught_up(engine: &BenchEngine) -> Result<()> {
    let text = "SELECT NOT EXISTS (
                    SELECT FROM reads.checkpoints c JOIN reads.live USING (model, shape)
                    WHERE model = $1 AND c.position < (SELECT coalesce(max(e.position), 0) FROM log.events e
                                                       WHERE e.lane = c.lane))";
    let wait = async {
        while !sqlx::query_scalar::<_, bool>(text).bind(MODEL).fetch_one(engine.pool()).await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    tokio::time::timeout(CATCH_UP_TIMEOUT, wait)
        .await
        .context("the read model did not reach the end of the log in time")?
}
