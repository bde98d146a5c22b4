//! The protocol: every contender finds its own best concurrency, then all of them run in turns, three times.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::arena::{Arena, Database};
use super::clients::{Contender, Measured, Pace, median, press};
use super::progress::Progress;
use super::report::Report;

/// So often every contender runs; the median counts.
pub(super) const ROUNDS: usize = 3;
/// A taste that is long enough to tell concurrencies apart.
const CALIBRATION: Pace = Pace { warm_up: Duration::from_millis(500), measured: Duration::from_secs(2) };

/// Somebody who takes part.
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// The concurrencies to choose from.
    pub(super) clients: &'static [usize],
    pub(super) start: Start,
}

/// Puts a contender on an empty store.
type Start = for<'a> fn(&'a Arena, Database) -> BoxFuture<'a, Result<Box<dyn Started>>>;

/// A contender on an empty store of its own.
pub(super) trait Started: Send + Sync {
    fn press(&self, clients: usize, pace: Pace) -> BoxFuture<'_, Result<Measured>>;
    /// Stops it and hands its store back.
    fn stop(self: Box<Self>) -> BoxFuture<'static, Database>;
}

struct Stage<C> {
    contender: Arc<C>,
    database: Database,
    server: Option<u32>,
}

/// Puts a contender on its store.
pub(super) fn stage(contender: impl Contender, database: Database, arena: &Arena) -> Box<dyn Started> {
    Box::new(Stage { contender: Arc::new(contender), database, server: arena.server_pid() })
}

impl<C: Contender> Started for Stage<C> {
    fn press(&self, clients: usize, pace: Pace) -> BoxFuture<'_, Result<Measured>> {
        press(&self.contender, clients, pace, self.server).boxed()
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, Database> {
        async move {
            self.contender.stop().await;
            self.database
        }
        .boxed()
    }
}

/// What each contender reached, in the order of the entries.
pub(super) async fn contest(
    arena: &Arena,
    entries: &[Entry],
    pace: Pace,
    progress: &Progress,
) -> Result<Vec<Measured>> {
    let mut best = Vec::new();
    for entry in entries {
        best.push(calibrate(arena, entry, progress).await?);
    }
    let mut runs = vec![Vec::new(); entries.len()];
    for round in 1..=ROUNDS {
        for ((entry, clients), runs) in entries.iter().zip(&best).zip(&mut runs) {
            progress.says(format!("{}, run {round} of {ROUNDS}", entry.name));
            let started = (entry.start)(arena, arena.database().await?).await?;
            let measured = started.press(*clients, pace).await.with_context(|| entry.name.to_owned());
            arena.clear(started.stop().await).await?;
            runs.push(measured?);
        }
    }
    runs.iter().map(|runs| median(runs).context("no run")).collect()
}

/// The concurrency at which a contender gets most done.
async fn calibrate(arena: &Arena, entry: &Entry, progress: &Progress) -> Result<usize> {
    if let [only] = entry.clients {
        return Ok(*only);
    }
    let started = (entry.start)(arena, arena.database().await?).await?;
    let mut best = (0.0, 1);
    for &clients in entry.clients {
        progress.says(format!("{}, trying {clients} clients", entry.name));
        let measured = started.press(clients, CALIBRATION).await.with_context(|| entry.name.to_owned())?;
        tracing::info!(contender = entry.name, clients, per_second = measured.per_second, "calibrated");
        if measured.per_second > best.0 {
            best = (measured.per_second, clients);
        }
    }
    arena.clear(started.stop().await).await?;
    Ok(best.1)
}

/// Notes what each contender reached.
pub(super) fn told<const N: usize>(
    entries: &[Entry; N],
    measured: Vec<Measured>,
    report: &mut Report,
) -> Result<[Measured; N]> {
    for (entry, measured) in entries.iter().zip(&measured) {
        report.contender(entry.name, measured);
    }
    measured.try_into().ok().context("as many results as contenders")
}
