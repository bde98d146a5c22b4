//! Measurement protocol: each contender is calibrated to its best number of clients, then all run alternately, three
//! times.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::load_generator::{Contender, Measurement, RunLength, measure, median_measurement};
use super::progress::Progress;
use super::report::Report;
use super::scratch_server::{ScratchDatabase, ScratchServer};

/// Measured runs of each contender; their median is reported.
pub(super) const ROUNDS: usize = 3;
/// Length of a calibration run: enough to rank numbers of clients.
const CALIBRATION: RunLength = RunLength { warm_up: Duration::from_millis(500), measured: Duration::from_secs(2) };

/// Description of a contender.
pub(super) struct ContenderSpec {
    pub(super) name: &'static str,
    /// Numbers of clients to calibrate with.
    pub(super) clients: &'static [usize],
    pub(super) start: Start,
}

/// Starts a contender on an empty database.
type Start = for<'a> fn(&'a ScratchServer, ScratchDatabase) -> BoxFuture<'a, Result<Box<dyn RunningContender>>>;

/// A started contender on its own database.
pub(super) trait RunningContender: Send + Sync {
    /// Measures it under the load of this many clients.
    fn measure(&self, clients: usize, length: RunLength) -> BoxFuture<'_, Result<Measurement>>;
    /// Stops it and returns its database.
    fn stop(self: Box<Self>) -> BoxFuture<'static, ScratchDatabase>;
}

struct StartedContender<C> {
    contender: Arc<C>,
    database: ScratchDatabase,
    server: Option<u32>,
}

/// Boxes a started contender with its database.
pub(super) fn boxed(
    contender: impl Contender,
    database: ScratchDatabase,
    server: &ScratchServer,
) -> Box<dyn RunningContender> {
    Box::new(StartedContender { contender: Arc::new(contender), database, server: server.server_pid() })
}

impl<C: Contender> RunningContender for StartedContender<C> {
    fn measure(&self, clients: usize, length: RunLength) -> BoxFuture<'_, Result<Measurement>> {
        measure(&self.contender, clients, length, self.server).boxed()
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, ScratchDatabase> {
        async move {
            self.contender.stop().await;
            self.database
        }
        .boxed()
    }
}

/// Median measurement of each contender, in their order.
pub(super) async fn run_contenders(
    server: &ScratchServer,
    contenders: &[ContenderSpec],
    length: RunLength,
    progress: &Progress,
) -> Result<Vec<Measurement>> {
    let mut best = Vec::new();
    for contender in contenders {
        best.push(calibrate(server, contender, progress).await?);
    }
    let mut runs = vec![Vec::new(); contenders.len()];
    for round in 1..=ROUNDS {
        for ((contender, clients), runs) in contenders.iter().zip(&best).zip(&mut runs) {
            progress.show(format!("{}, run {round} of {ROUNDS}", contender.name));
            let started = (contender.start)(server, server.create_database().await?).await?;
            let measured = started.measure(*clients, length).await.context(contender.name);
            server.drop_database(started.stop().await).await?;
            runs.push(measured?);
        }
    }
    runs.iter().map(|runs| median_measurement(runs).context("no run was measured")).collect()
}

/// Number of clients with the highest throughput of a contender.
async fn calibrate(server: &ScratchServer, contender: &ContenderSpec, progress: &Progress) -> Result<usize> {
    if let [only] = contender.clients {
        return Ok(*only);
    }
    let started = (contender.start)(server, server.create_database().await?).await?;
    let mut best = (0.0, 1);
    for &clients in contender.clients {
        progress.show(format!("{}, trying {clients} clients", contender.name));
        let measured = started.measure(clients, CALIBRATION).await.context(contender.name)?;
        tracing::info!(contender = contender.name, clients, per_second = measured.per_second, "calibrated");
        if measured.per_second > best.0 {
            best = (measured.per_second, clients);
        }
    }
    server.drop_database(started.stop().await).await?;
    Ok(best.1)
}

/// Adds the measurements of all contenders to the report.
pub(super) fn report_contenders<const N: usize>(
    contenders: &[ContenderSpec; N],
    measured: Vec<Measurement>,
    report: &mut Report,
) -> Result<[Measurement; N]> {
    for (contender, measured) in contenders.iter().zip(&measured) {
        report.contender(contender.name, measured);
    }
    measured.try_into().ok().context("the number of measurements differs from the number of contenders")
}
