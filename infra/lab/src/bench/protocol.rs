//! Measurement protocol: calibration finds the number of clients at which each contender has its highest throughput;
//! then all contenders run with it, one after the other, in three rounds.

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
/// Length of one calibration run.
const CALIBRATION: RunLength = RunLength { warm_up: Duration::from_millis(500), measured: Duration::from_secs(2) };

/// Description of a contender.
pub(super) struct ContenderSpec {
    pub(super) name: &'static str,
    /// Numbers of clients, of which calibration finds the one with the highest throughput.
    pub(super) clients: &'static [usize],
    pub(super) start: Start,
}

/// Starts a contender on an empty database.
type Start = for<'a> fn(&'a ScratchServer, ScratchDatabase) -> BoxFuture<'a, Result<RunningContender>>;

/// A contender of any type.
trait AnyContender: Send + Sync {
    fn measure(&self, clients: usize, length: RunLength, server_pid: Option<u32>)
    -> BoxFuture<'_, Result<Measurement>>;
    fn stop(&self) -> BoxFuture<'_, ()>;
}

impl<C: Contender> AnyContender for Arc<C> {
    fn measure(
        &self,
        clients: usize,
        length: RunLength,
        server_pid: Option<u32>,
    ) -> BoxFuture<'_, Result<Measurement>> {
        measure(self, clients, length, server_pid).boxed()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Contender::stop(&**self)
    }
}

/// A started contender and its database.
pub(super) struct RunningContender {
    contender: Box<dyn AnyContender>,
    database: ScratchDatabase,
    server_pid: Option<u32>,
}

impl RunningContender {
    pub(super) fn new(contender: impl Contender, database: ScratchDatabase, server: &ScratchServer) -> Self {
        Self { contender: Box::new(Arc::new(contender)), database, server_pid: server.server_pid() }
    }

    /// Measures the contender under the load of this many clients.
    async fn measure(&self, clients: usize, length: RunLength) -> Result<Measurement> {
        self.contender.measure(clients, length, self.server_pid).await
    }

    /// Stops the contender and drops its database.
    async fn stop(self, server: &ScratchServer) -> Result<()> {
        self.contender.stop().await;
        server.drop_database(self.database).await
    }
}

impl ContenderSpec {
    /// Starts the contender on a new database.
    async fn start(&self, server: &ScratchServer) -> Result<RunningContender> {
        (self.start)(server, server.create_database().await?).await
    }
}

/// Measures all contenders. Returns the median measurement of each one, in the order of `contenders`.
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
            let running = contender.start(server).await?;
            let measured = running.measure(*clients, length).await.context(contender.name);
            running.stop(server).await?;
            runs.push(measured?);
        }
    }
    runs.iter().map(|runs| median_measurement(runs).context("no run was measured")).collect()
}

/// Returns the number of clients at which a contender has its highest throughput.
async fn calibrate(server: &ScratchServer, contender: &ContenderSpec, progress: &Progress) -> Result<usize> {
    if let [only] = contender.clients {
        return Ok(*only);
    }
    let running = contender.start(server).await?;
    let best = best_client_count(&running, contender, progress).await;
    running.stop(server).await?;
    best
}

async fn best_client_count(
    running: &RunningContender,
    contender: &ContenderSpec,
    progress: &Progress,
) -> Result<usize> {
    let (mut highest, mut best) = (0.0, 1);
    for &clients in contender.clients {
        progress.show(format!("{}, trying {clients} clients", contender.name));
        let measured = running.measure(clients, CALIBRATION).await.context(contender.name)?;
        tracing::info!(contender = contender.name, clients, per_second = measured.per_second, "calibrated");
        if measured.per_second > highest {
            (highest, best) = (measured.per_second, clients);
        }
    }
    Ok(best)
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
