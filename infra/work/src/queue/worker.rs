//! Queue worker: claims due queues of one kind and runs each in a task.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::count_open;
use super::lane_delays::LaneDelays;
use super::lease::{Lease, QueueLimits, RunEnd, claim_due};
use crate::lanes::{Lanes, POLL_INTERVAL};

/// Pause after a claim that found nothing to run, as a multiple of the time that it took.
const PAUSES_PER_CLAIM: u32 = 4;
/// Interval at which the number of open circuit breakers is published.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The work of one kind of queue.
#[async_trait]
pub trait QueueWork: Clone + Send + Sync + 'static {
    /// Kind under which the queues are stored. Never changes.
    const KIND: &'static str;
    /// Minimum pause between two claims.
    const CLAIM_PAUSE: Duration = Duration::ZERO;
    /// SQL condition for a claim beside the due time, on the row `q`, the lane in `r` and the time of the claim in `$2`.
    const READY: &'static str = "true";

    fn limits(&self) -> QueueLimits;

    /// Names of the queues that this process can run; `None` for all.
    fn names(&self) -> Option<Vec<String>> {
        None
    }

    /// SQL expression for the time at which the first item of a queue is due: computed from its row, `q`.
    fn next_due(&self) -> Cow<'static, str>;

    /// Works on the due items of a queue for a bounded time, outside of any transaction. After an error, the queue is due
    /// again when its lease expires.
    async fn run(&self, lease: &Lease) -> Result<RunEnd, sqlx::Error>;
}

/// Claims and runs the queues of one kind.
pub struct QueueWorker<W> {
    pub pool: PgPool,
    pub lanes: Lanes,
    /// Changes when this process has written events, where these can make a queue ready.
    pub written: Option<watch::Receiver<u64>>,
    pub work: W,
}

/// Runs in progress, and lanes that are left out for a while.
#[derive(Default)]
struct ActiveRuns {
    tasks: JoinSet<Option<RunEnd>>,
    leases: HashMap<Id, Lease>,
    delays: LaneDelays,
}

impl<W: QueueWork> QueueWorker<W> {
    /// Works until `stop`. Runs then have the time of the limits to end; the queues of those that are dropped are due
    /// again at once.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut active = ActiveRuns::default();
        let names = self.work.names();
        if names.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let mut reported: Option<Instant> = None;
        while !stop.is_cancelled() {
            active.collect();
            if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
                self.report_breakers().await;
                reported = Some(Instant::now());
            }
            let begun = Instant::now();
            if let Err(error) = self.start_due(&mut active, names.as_deref()).await {
                tracing::warn!(queues = W::KIND, %error, "queues cannot be claimed now; trying again");
            }
            let pause = POLL_INTERVAL.max(begun.elapsed().saturating_mul(PAUSES_PER_CLAIM));
            tokio::time::sleep(W::CLAIM_PAUSE).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = changed(&mut self.written) => {}
                Some(ended) = active.tasks.join_next_with_id(), if !active.tasks.is_empty() => active.finish(ended),
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.end(active).await;
    }

    /// Claims due queues and starts their runs.
    async fn start_due(&self, active: &mut ActiveRuns, names: Option<&[String]>) -> Result<(), sqlx::Error> {
        let left_out = active.delays.current(Instant::now());
        let lanes = self.lanes.current();
        let lanes: Vec<i16> = lanes.iter().filter(|lane| !left_out.contains(lane)).map(|lane| lane.0).collect();
        let running: Vec<&Lease> = active.leases.values().collect();
        let limits = self.work.limits();
        for lease in claim_due(&self.pool, (W::KIND, W::READY, names), &lanes, &running, &limits).await? {
            let (work, pool, claimed) = (self.work.clone(), self.pool.clone(), lease.clone());
            let task = active.tasks.spawn(async move { run_queue(&work, &pool, &claimed).await });
            active.leases.insert(task.id(), lease);
        }
        Ok(())
    }

    /// Publishes the number of open circuit breakers in the lanes of this process.
    async fn report_breakers(&self) {
        let lanes: Vec<i16> = self.lanes.current().iter().map(|lane| lane.0).collect();
        match count_open(&self.pool, W::KIND, &lanes).await {
            Ok(open) => metrics::gauge!("cartulary_breakers_open", "kind" => W::KIND).set(open),
            Err(error) => tracing::debug!(queues = W::KIND, %error, "open circuit breakers cannot be counted now"),
        }
    }

    /// Waits for the runs in progress, then drops those that have not ended in time.
    async fn end(&self, mut active: ActiveRuns) {
        let deadline = Instant::now() + self.work.limits().stop_grace;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, active.tasks.join_next_with_id()).await {
            active.finish(ended);
        }
        active.tasks.shutdown().await;
        for lease in active.leases.values() {
            if let Err(error) = lease.abandon(&self.pool).await {
                tracing::debug!(queues = W::KIND, %error, "a lease cannot be ended; it expires");
            }
        }
    }
}

/// Waits for the next change; for ever without a source of changes.
async fn changed(source: &mut Option<watch::Receiver<u64>>) {
    if let Some(source) = source
        && source.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Runs a claimed queue and ends its lease. Returns `None` after an error.
async fn run_queue<W: QueueWork>(work: &W, pool: &PgPool, lease: &Lease) -> Option<RunEnd> {
    let ended = async {
        let end = work.run(lease).await?;
        lease.end(pool, &work.next_due(), &end).await?;
        Ok::<_, sqlx::Error>(end)
    };
    let ended = ended.await;
    if let Err(error) = &ended {
        let (tenant, name) = (lease.key.tenant, &lease.key.name);
        tracing::warn!(queues = W::KIND, %tenant, name, %error, "a queue cannot continue now; trying again");
    }
    ended.ok()
}

impl ActiveRuns {
    /// Records the runs that have ended.
    fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.finish(ended);
        }
    }

    fn finish(&mut self, ended: Result<(Id, Option<RunEnd>), JoinError>) {
        let (id, end) = ended.unwrap_or_else(|failed| (failed.id(), None));
        let Some(lease) = self.leases.remove(&id) else { return };
        match end {
            Some(end) if end.is_lane_away => self.delays.record_away(lease.lane, Instant::now()),
            Some(end) if end.worked => self.delays.record_success(lease.lane),
            _ => {}
        }
    }
}
