//! Line 9: how long `cartulary dev` takes to be ready on data that are there already.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use super::arena::Arena;
use super::clients::middle;
use super::connection::HttpConnection;
use super::contest::ROUNDS;
use super::facts::Facts;
use super::ours::opening;
use super::progress::Progress;
use super::report::Report;
use cartulary::embedded_engine::EmbeddedEngine;
use cartulary::settings::Settings;

/// Commands that made the data, of one event each.
const COMMANDS: usize = 50_000;
const AT_ONCE: usize = 1_000;
/// A start that takes longer than this has failed.
const READY_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn line(
    arena: &Arena,
    binaries: Option<PathBuf>,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let folder = arena.folder("start")?;
    let settings =
        Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), postgres_binaries: binaries, ..Settings::default() };
    progress.says(format!("making data with {COMMANDS} commands"));
    let laptop = EmbeddedEngine::start(&folder, settings.clone()).await?;
    write(&laptop).await?;
    laptop.stop().await?;
    let mut seconds = Vec::new();
    for round in 1..=ROUNDS {
        progress.says(format!("starting, run {round} of {ROUNDS}"));
        seconds.push(start(&folder, &settings).await?.as_secs_f64());
    }
    report.at_most("start on existing data until ready, seconds", middle(seconds).unwrap_or_default(), 3.0);
    Ok(())
}

async fn write(laptop: &EmbeddedEngine) -> Result<()> {
    let facts = Facts::new()?;
    let scribe = &laptop.running.dispatch;
    for (number, &tenant) in facts.tenants.iter().enumerate() {
        scribe.submit(tenant, false, vec![facts.envelope(opening(&facts, number)?)]).await;
    }
    for first in (0..COMMANDS).step_by(AT_ONCE) {
        let client = first / AT_ONCE;
        let commands = (0..AT_ONCE).map(|_| facts.envelope(facts.import_order(client))).collect();
        let answers = scribe.submit(facts.tenant(client), false, commands).await;
        ensure!(answers.len() == AT_ONCE, "every command is answered");
    }
    Ok(())
}

/// From nothing to the first "ready".
async fn start(folder: &Path, settings: &Settings) -> Result<Duration> {
    let begun = Instant::now();
    let laptop = EmbeddedEngine::start(folder, settings.clone()).await?;
    let mut connection = HttpConnection::open(laptop.running.address).await?;
    while connection.get("/ready").await?.0 != StatusCode::OK {
        ensure!(begun.elapsed() < READY_WITHIN, "it does not get ready");
        sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    laptop.stop().await?;
    Ok(took)
}
