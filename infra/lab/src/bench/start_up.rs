//! Benchmark `start`: start-up time of `cartulary dev` on existing data until it is ready, also with the generated
//! catalogue.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use api::registries::Registries;
use cartulary::embedded_engine::EmbeddedEngine;
use cartulary::settings::Settings;
use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use super::http_connection::HttpConnection;
use super::load_generator::median;
use super::progress::Progress;
use super::protocol::ROUNDS;
use super::report::Report;
use super::scratch_server::ScratchServer;
use super::scribe_contender::open_tenant;
use super::workload::Workload;

/// Commands of one event each that create the data.
const COMMANDS: usize = 50_000;
/// Commands of one submission.
const BATCH: usize = 1_000;
/// Time limit of one start.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn run(
    server: &ScratchServer,
    binaries: Option<PathBuf>,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let folder = server.create_folder("start")?;
    let settings =
        Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), postgres_binaries: binaries, ..Settings::default() };
    progress.show(format!("creating data with {COMMANDS} commands"));
    let engine = EmbeddedEngine::start(&folder, settings.clone()).await?;
    write(&engine).await?;
    engine.stop().await?;
    let built_in = median_start(&folder, &settings, Registries::all, progress).await?;
    report.at_most("start on existing data until ready, seconds", built_in, 3.0);
    // The first start creates the tables of the generated read models.
    start(&folder, &settings, generated::registries()).await?;
    let generated = median_start(&folder, &settings, generated::registries, progress).await?;
    report.at_most("start with 400 more commands and 120 more read models, seconds", generated, 3.0);
    Ok(())
}

async fn median_start(
    folder: &Path,
    settings: &Settings,
    registries: fn() -> Registries,
    progress: &Progress,
) -> Result<f64> {
    let mut seconds = Vec::new();
    for round in 1..=ROUNDS {
        progress.show(format!("starting, run {round} of {ROUNDS}"));
        seconds.push(start(folder, settings, registries()).await?.as_secs_f64());
    }
    Ok(median(seconds).unwrap_or_default())
}

async fn write(engine: &EmbeddedEngine) -> Result<()> {
    let workload = Workload::new()?;
    let scribe = &engine.running.dispatch;
    for (number, &tenant) in workload.tenants.iter().enumerate() {
        scribe.submit(tenant, false, vec![workload.envelope(open_tenant(&workload, number)?)]).await;
    }
    for first in (0..COMMANDS).step_by(BATCH) {
        let client = first / BATCH;
        let commands = (0..BATCH).map(|_| workload.envelope(workload.register_customer())).collect();
        let answers = scribe.submit(workload.tenant(client), false, commands).await;
        ensure!(answers.len() == BATCH, "not every command was answered");
    }
    Ok(())
}

/// Starts the engine and measures the time until `/ready` answers 200.
async fn start(folder: &Path, settings: &Settings, registries: Registries) -> Result<Duration> {
    let begun = Instant::now();
    let engine = EmbeddedEngine::start_of(folder, settings.clone(), registries).await?;
    let mut connection = HttpConnection::open(engine.running.address).await?;
    while connection.get("/ready").await?.0 != StatusCode::OK {
        ensure!(begun.elapsed() < READY_TIMEOUT, "not ready within {READY_TIMEOUT:?}");
        sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    engine.stop().await?;
    Ok(took)
}
