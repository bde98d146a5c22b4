//! Benchmark `growth`: freshness of an engine with the generated catalogue of 400 commands, 120 read models and 60
//! policies. Commands of all kinds are sent at a constant rate, and an event counts as visible when the last of the
//! generated read models has reached it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use commands::kernel::Commands;
use commands::scribe::Envelope;
use serde_json::json;
use sqlx::PgConnection;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::bench_engine::BenchEngine;
use super::freshness::{AnsweredEvent, CheckpointSample, lags, write};
use super::load_generator::{RunLength, percentile};
use super::progress::Progress;
use super::report::Report;
use super::scratch_server::ScratchServer;
use super::workload::Workload;

/// Commands per second, open loop.
const PER_SECOND: u64 = 1_000;
/// Ledgers of each generated aggregate; the commands are distributed among them.
const LEDGERS: usize = 50;
/// Interval between two samples of the checkpoints, which are some thousand rows.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);
/// Time after which the last event must be visible.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Commands of the generated catalogue, and the ledgers that they change.
struct GeneratedLoad {
    engine: Arc<BenchEngine>,
    commands: Arc<Commands>,
    names: Vec<String>,
    ledgers: Vec<uuid::Uuid>,
}

pub(super) async fn run(
    server: &ScratchServer,
    length: RunLength,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let database = server.create_database().await?;
    let registries = generated::registries();
    progress.show("starting with the generated catalogue".into());
    let engine = Arc::new(BenchEngine::open_of(&database, registries.clone()).await?);
    let load = Arc::new(GeneratedLoad::new(engine.clone(), registries.commands));
    progress.show(format!("{PER_SECOND} commands/s of {} kinds", load.names.len()));
    let stop = CancellationToken::new();
    let watcher = watch(database.connection().await?, stop.clone());
    let sending = load.clone();
    let written = write(length, PER_SECOND, move |number| send(sending.clone(), number)).await?;
    sleep(SETTLE_TIME).await;
    stop.cancel();
    let samples = watcher.await??;
    let lags = lags(&engine, &written, &samples).await?;
    drop(load);
    Arc::into_inner(engine).context("a command is still running")?.close().await;
    server.drop_database(database).await?;
    report.figure("generated catalogue, commit to last visible row, p50", milliseconds(&lags, 0.5), "ms");
    report.at_most(
        "generated catalogue, commit to last visible row at 1,000/s, p99 ms",
        milliseconds(&lags, 0.99),
        100.0,
    );
    report.figure("generated catalogue, events measured", lags.len() as f64, "");
    Ok(())
}

fn milliseconds(lags: &[Duration], part: f64) -> f64 {
    percentile(lags, part).as_secs_f64() * 1e3
}

impl GeneratedLoad {
    fn new(engine: Arc<BenchEngine>, commands: Arc<Commands>) -> Self {
        let of_callers = |name: &&str| name.starts_with("ChangeLedger");
        let names = commands.iter().map(|command| command.name.as_str()).filter(of_callers).map(Into::into).collect();
        let ledgers = (0..LEDGERS).map(|_| Workload::id()).collect();
        Self { engine, commands, names, ledgers }
    }

    /// A command of the kind with this number, round robin.
    fn envelope(&self, number: usize) -> Result<Envelope> {
        let name = &self.names[number % self.names.len()];
        let ledger = self.ledgers[number / self.names.len() % LEDGERS];
        let body = json!({ "ledger": ledger, "amount": 1 }).to_string();
        let command = self.commands.get(name).context("the command is registered")?.parse(&body);
        let command = command.map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        Ok(self.engine.workload.envelope_of(command))
    }
}

async fn send(load: Arc<GeneratedLoad>, number: usize) -> Result<AnsweredEvent> {
    let tenant = load.engine.workload.tenant(number);
    let accepted = load.engine.execute(tenant, vec![load.envelope(number)?]).await?;
    Ok((tenant, accepted.tenant_position, Instant::now()))
}

/// Samples the position of the slowest generated read model in each lane until it is stopped.
fn watch(mut connection: PgConnection, stop: CancellationToken) -> JoinHandle<Result<Vec<CheckpointSample>>> {
    tokio::spawn(async move {
        let text = "SELECT c.lane, min(c.position) FROM reads.checkpoints c JOIN reads.live USING (model, shape)
                    WHERE model LIKE 'LedgerSummary%' GROUP BY c.lane";
        let mut samples = Vec::new();
        while !stop.is_cancelled() {
            let at = sqlx::query_as(text).fetch_all(&mut connection).await?;
            samples.push((Instant::now(), at));
            sleep(SAMPLE_INTERVAL).await;
        }
        Ok(samples)
    })
}
