//! Timer worker: reads due timers, sends their commands and deletes the rows of those that are decided.
//!
//! The timers of one tenant are one run, in a task of its own. A tenant or a lane that answers not-now is left out for a
//! while and delays no other. Rows are neither locked nor marked: while two processes have the same lane, both may send a command, and
//! the second gets the answer of the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use commands::kernel::NotNow;
use commands::scribe::LaneId;
use domain::shared::TenantId;
use sqlx::PgPool;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatcher::Dispatcher;
use crate::lanes::{Lanes, POLL_INTERVAL};
use crate::retry_delays::RetryDelays;
use crate::timer_table::{Timer, delete_fired, read_due, read_due_of};

/// Pause after a query that found nothing to start, as a multiple of the time that it took.
const PAUSES_PER_QUERY: u32 = 4;
/// Maximum number of runs of one lane at a time.
const LANE_RUNS_MOST: usize = 16;

/// Fires the timers of the tenants in the lanes of this process.
#[derive(Clone)]
pub(crate) struct TimerWorker {
    pub(crate) pool: PgPool,
    pub(crate) lanes: Lanes,
    pub(crate) dispatcher: Dispatcher,
}

/// Runs in progress, and the lanes and tenants that are left out for a while.
#[derive(Default)]
struct ActiveRuns {
    tasks: JoinSet<RunResult>,
    tenants: HashMap<Id, (LaneId, TenantId)>,
    delays: RetryDelays,
}

/// Outcome of a run.
struct RunResult {
    /// True if a command was decided.
    decided: bool,
    /// Reason of the last command that was not decided.
    not_now: Option<NotNow>,
}

impl TimerWorker {
    /// Works until `stop`. Unfinished runs are then dropped: their rows are still there, and their commands are sent
    /// again under the same ids.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut active = ActiveRuns::default();
        while !stop.is_cancelled() {
            active.collect();
            let begun = Instant::now();
            match self.start_due(&mut active).await {
                Ok(started) if started > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "timers cannot be read now; trying again"),
            }
            let pause = POLL_INTERVAL.max(begun.elapsed().saturating_mul(PAUSES_PER_QUERY));
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = active.tasks.join_next_with_id(), if !active.tasks.is_empty() => active.finish(ended),
                () = tokio::time::sleep(pause) => {}
            }
        }
        active.tasks.shutdown().await;
    }

    /// Starts runs for due timers of lanes and tenants that are free. Returns the number of runs.
    async fn start_due(&self, active: &mut ActiveRuns) -> Result<usize, sqlx::Error> {
        let (full, busy) = active.left_out();
        let lanes: Vec<i16> =
            self.lanes.current().iter().filter(|lane| !full.contains(lane)).map(|lane| lane.0).collect();
        if lanes.is_empty() {
            return Ok(0);
        }
        let mut by_tenant = BTreeMap::<(LaneId, TenantId), Vec<Timer>>::new();
        for (lane, timer) in read_due(&self.pool, &lanes, busy).await? {
            by_tenant.entry((lane, timer.id.tenant)).or_default().push(timer);
        }
        let mut started = 0;
        for ((lane, tenant), due) in by_tenant {
            if active.runs_of(lane) < LANE_RUNS_MOST {
                let worker = self.clone();
                let task = active.tasks.spawn(async move { worker.fire_all(tenant, due).await });
                active.tenants.insert(task.id(), (lane, tenant));
                started += 1;
            }
        }
        Ok(started)
    }

    /// Sends the commands of one tenant, page by page, until none is due or one is not decided.
    async fn fire_all(&self, tenant: TenantId, mut page: Vec<Timer>) -> RunResult {
        let mut decided = false;
        loop {
            let next = async {
                let not_now = self.fire(std::mem::take(&mut page), &mut decided).await?;
                if not_now.is_none() {
                    page = read_due_of(&self.pool, tenant).await?;
                }
                Ok::<_, sqlx::Error>(not_now)
            };
            match next.await {
                Ok(None) if !page.is_empty() => {}
                Ok(not_now) => return RunResult { decided, not_now },
                Err(error) => {
                    tracing::warn!(%error, "timers cannot fire now; trying again");
                    return RunResult { decided, not_now: Some(NotNow::StoreAway) };
                }
            }
        }
    }

    /// Sends commands of one tenant and deletes the rows of those that are decided. Returns the reason of the last that is
    /// not.
    async fn fire(&self, due: Vec<Timer>, decided: &mut bool) -> Result<Option<NotNow>, sqlx::Error> {
        let (mut keys, commands): (Vec<_>, Vec<_>) =
            due.into_iter().map(|timer| ((timer.id, timer.command.id), timer.command)).unzip();
        let undecided = self.dispatcher.dispatch(commands).await?;
        let ids: BTreeSet<_> = undecided.iter().map(|(command, _)| command.id).collect();
        keys.retain(|(_, id)| !ids.contains(id));
        delete_fired(&self.pool, &keys).await?;
        *decided |= !keys.is_empty();
        Ok(undecided.into_iter().next_back().map(|(_, reason)| reason))
    }
}

impl ActiveRuns {
    fn runs_of(&self, lane: LaneId) -> usize {
        self.tenants.values().filter(|(of, _)| *of == lane).count()
    }

    /// Lanes and tenants for which no run may be started now.
    fn left_out(&mut self) -> (BTreeSet<LaneId>, Vec<Uuid>) {
        let (mut lanes, tenants) = self.delays.current(Instant::now());
        let running: BTreeSet<LaneId> = self.tenants.values().map(|(lane, _)| *lane).collect();
        lanes.extend(running.into_iter().filter(|lane| self.runs_of(*lane) >= LANE_RUNS_MOST));
        let running = self.tenants.values().map(|(_, tenant)| *tenant);
        (lanes, running.chain(tenants).map(TenantId::uuid).collect())
    }

    /// Records the runs that have ended.
    fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.finish(ended);
        }
    }

    fn finish(&mut self, ended: Result<(Id, RunResult), JoinError>) {
        let (id, result) = match ended {
            Ok(ended) => ended,
            Err(failed) => (failed.id(), RunResult { decided: false, not_now: Some(NotNow::StoreAway) }),
        };
        let Some((lane, tenant)) = self.tenants.remove(&id) else { return };
        match result.not_now {
            Some(reason) => self.delays.record_not_now((lane, tenant), &reason, Instant::now()),
            None if result.decided => self.delays.record_success(lane, tenant),
            None => {}
        }
    }
}
