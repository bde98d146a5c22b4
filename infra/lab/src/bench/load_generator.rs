//! Closed-loop load generator: each client sends its next command as soon as the previous one is answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::cpu::Cpu;

/// An implementation that is measured.
pub(super) trait Contender: Send + Sync + 'static {
    /// Commands per call.
    const COMMANDS_PER_CALL: u32 = 1;

    /// Makes one call for one client. Returns when its commands are durable.
    fn call(&self, client: usize) -> impl Future<Output = Result<()>> + Send;

    /// Stops the implementation and closes its connections.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Length of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunLength {
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
}

/// Result of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    pub(super) clients: usize,
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// CPU time per command, in this process and in the database server.
    pub(super) cpu: Cpu,
}

/// Runs this many clients and measures throughput, latency and CPU time after the warm-up.
pub(super) async fn measure<C: Contender>(
    contender: &Arc<C>,
    clients: usize,
    length: RunLength,
    server_pid: Option<u32>,
) -> Result<Measurement> {
    let from = Instant::now() + length.warm_up;
    let until = from + length.measured;
    let mut running = JoinSet::new();
    for client in 0..clients {
        let contender = contender.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            let mut start = Instant::now();
            while start < until {
                contender.call(client).await?;
                let end = Instant::now();
                if end >= from && end < until {
                    latencies.push(end - start);
                }
                start = end;
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    sleep_until(from).await;
    let before = Cpu::read(server_pid);
    sleep_until(until).await;
    let cpu = Cpu::read(server_pid).since(before);
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    let commands = latencies.len() as f64 * f64::from(C::COMMANDS_PER_CALL);
    Ok(Measurement {
        clients,
        per_second: commands / length.measured.as_secs_f64(),
        p50: percentile(&latencies, 0.5),
        p99: percentile(&latencies, 0.99),
        cpu: cpu.per_command(commands),
    })
}

/// Percentile of sorted values; `part` is between 0 and 1.
pub(super) fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index).copied().unwrap_or_default()
}

/// Median of each figure over several runs.
pub(super) fn median_measurement(runs: &[Measurement]) -> Option<Measurement> {
    let time = |of: fn(&Measurement) -> Duration| {
        median(runs.iter().map(|run| of(run).as_secs_f64()).collect()).map(Duration::from_secs_f64)
    };
    Some(Measurement {
        clients: runs.first()?.clients,
        per_second: median(runs.iter().map(|run| run.per_second).collect())?,
        p50: time(|run| run.p50)?,
        p99: time(|run| run.p99)?,
        cpu: Cpu { engine: time(|run| run.cpu.engine)?, server: time(|run| run.cpu.server)? },
    })
}

/// Median of some values.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
