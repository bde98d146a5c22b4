//! Closed-loop clients: each sends its next command as soon as the one before is answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::cpu::Cpu;

/// Something whose speed is measured.
pub(super) trait Contender: Send + Sync + 'static {
    /// Commands that one call stands for.
    const COMMANDS_PER_CALL: u32 = 1;

    /// One call by one client, until it is durable.
    fn call(&self, client: usize) -> impl Future<Output = Result<()>> + Send;

    /// Lets go of everything.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
}

/// What came out of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) clients: usize,
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Processor time of one command, here and in the database server.
    pub(super) cpu: Cpu,
}

/// Lets so many clients call for as long as the pace says.
pub(super) async fn press<C: Contender>(
    contender: &Arc<C>,
    clients: usize,
    pace: Pace,
    server: Option<u32>,
) -> Result<Measured> {
    let from = Instant::now() + pace.warm_up;
    let until = from + pace.measured;
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
    let before = Cpu::read(server);
    sleep_until(until).await;
    let cpu = Cpu::read(server).since(before);
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    let commands = latencies.len() as f64 * f64::from(C::COMMANDS_PER_CALL);
    Ok(Measured {
        clients,
        per_second: commands / pace.measured.as_secs_f64(),
        p50: percentile(&latencies, 0.5),
        p99: percentile(&latencies, 0.99),
        cpu: cpu.shared_by(commands),
    })
}

/// The value below which this part of sorted values lies.
pub(super) fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// The median of each figure over several runs.
pub(super) fn median(runs: &[Measured]) -> Option<Measured> {
    let time = |of: fn(&Measured) -> Duration| {
        middle(runs.iter().map(|run| of(run).as_secs_f64()).collect()).map(Duration::from_secs_f64)
    };
    Some(Measured {
        clients: runs.first()?.clients,
        per_second: middle(runs.iter().map(|run| run.per_second).collect())?,
        p50: time(|run| run.p50)?,
        p99: time(|run| run.p99)?,
        cpu: Cpu { engine: time(|run| run.cpu.engine)?, server: time(|run| run.cpu.server)? },
    })
}

/// The median of some values.
pub(super) fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
