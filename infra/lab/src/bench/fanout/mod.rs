//! Benchmark `fanout`: several processes with a real Kafka, which the benchmark starts.
//!
//! PostgreSQL, Kafka, the processes of the engine and the load generator share the cores of one machine.

mod broker;
mod failover;
mod kafka_freshness;
mod live_updates;
mod relay;

use std::path::Path;

use anyhow::{Context, Result};

use super::load_generator::RunLength;
use super::progress::Progress;
use super::report::Report;
use super::scratch_server::ScratchServer;
use broker::KafkaBroker;

/// Runs all parts. `project` is the folder with the `.cartulary` folder that holds the jars of Kafka.
pub(super) async fn run(
    server: &ScratchServer,
    project: &Path,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    progress.show("starting Kafka".into());
    let broker = KafkaBroker::start(server.create_folder("kafka")?, project).await?;
    // The relay comes first, because its load warms up the just-in-time compiler of the broker.
    relay::run(server, &broker, progress, report).await.context("relay")?;
    kafka_freshness::run(server, &broker, length, progress, report).await.context("commit to visible row")?;
    failover::run(server, progress, report).await.context("scribe failover")?;
    live_updates::run(server, progress, report).await.context("live updates")?;
    Ok(())
}
