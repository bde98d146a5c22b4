//! Closed-loop clients: each sends its next command as soon as the one before is answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Something whose speed is measured.
pub(super) trait Contender: Send + Sync + 'static {
    /// Commands that one call stands for.
    const COMMANDS_PER_CALL: u32 = 1;

    /// One call by one client, until it is durable.
    fn call(&self, client: usize) -> impl Future<Output = Result<()>> + Send;
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
}

/// Lets so many clients call for as long as the pace says.
pub(super) async fn press<C: Contender>(contender: &Arc<C>, clients: usize, pace: Pace) -> Result<Measured> {
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
                if start >= from && end < until {
                    latencies.push(end - start);
                }
                start = end;
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    let at = |part: f64| {
        let place = (latencies.len() as f64 * part) as usize;
        latencies.get(place).copied().unwrap_or_default()
    };
    let commands = latencies.len() as f64 * f64::from(C::COMMANDS_PER_CALL);
    Ok(Measured { clients, per_second: commands / pace.measured.as_secs_f64(), p50: at(0.5), p99: at(0.99) })
}

/// The median of each figure over several runs.
pub(super) fn median(runs: &[Measured]) -> Option<Measured> {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let time = |of: fn(&Measured) -> Duration| middle(runs.iter().map(|run| of(run).as_secs_f64()).collect());
    Some(Measured {
        clients: runs.first()?.clients,
        per_second: middle(runs.iter().map(|run| run.per_second).collect())?,
        p50: Duration::from_secs_f64(time(|run| run.p50)?),
        p99: Duration::from_secs_f64(time(|run| run.p99)?),
    })
}
