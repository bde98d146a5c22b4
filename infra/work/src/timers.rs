//! Timer worker: reads due timers, sends their commands and deletes the rows of those that are decided.
//!
//! The timers of one tenant are one run, in a task of its own. A tenant or a lane that answers not-now is left out for a
//! while and delays no other. Rows are neither locked nor marked: while two processes have the same lane, both may send a command, and
//! the second gets the answer of the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use commands::kernel::NotNow;
use commands::scribe::LaneId;
use domain::shared::{CommandId, TenantId, Timestamp};
use platform::clock::{Timestamptz, now};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatcher::{Dispatcher, EngineCommand};
use crate::lanes::{Lanes, POLL_INTERVAL};
use crate::retry_delays::RetryDelays;

/// Maximum number of timers read at a time.
const BATCH: i64 = 500;
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

/// A due timer: the time and its command.
type DueTimer = (Timestamp, EngineCommand);

impl TimerWorker {
    /// Works until `stop`. Unfinished runs are then dropped: their rows are still there, and their commands are sent
    /// again under the same ids.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut active = ActiveRuns::default();
        while !stop.is_cancelled() {
            active.collect();
            let begun = Instant::now();
            match self.start_due(&mut active).await {
                // The query returns the earliest timers only; those of other tenants may come after them.
                Ok(started) if started > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "timers cannot be read now; trying again"),
            }
            // Behind a long backlog of tenants with a run, the query reads all of it and finds nothing.
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
        let mut by_tenant = BTreeMap::<(LaneId, TenantId), Vec<DueTimer>>::new();
        for (lane, at, command) in read_due(&self.pool, &lanes, busy, None).await? {
            by_tenant.entry((lane, command.tenant)).or_default().push((at, command));
        }
        let mut started = 0;
        for ((lane, tenant), due) in by_tenant {
            if active.runs_of(lane) < LANE_RUNS_MOST {
                let worker = self.clone();
                let task = active.tasks.spawn(async move { worker.fire_all(lane, tenant, due).await });
                active.tenants.insert(task.id(), (lane, tenant));
                started += 1;
            }
        }
        Ok(started)
    }

    /// Sends the commands of one tenant, page by page, until none is due or one is not decided.
    async fn fire_all(&self, lane: LaneId, tenant: TenantId, mut page: Vec<DueTimer>) -> RunResult {
        let mut decided = false;
        loop {
            let next = async {
                let not_now = self.fire(std::mem::take(&mut page), &mut decided).await?;
                if not_now.is_none() {
                    let due = read_due(&self.pool, &[lane.0], vec![], Some(tenant)).await?;
                    page.extend(due.into_iter().map(|(_, at, command)| (at, command)));
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
    async fn fire(&self, due: Vec<DueTimer>, decided: &mut bool) -> Result<Option<NotNow>, sqlx::Error> {
        let (mut keys, commands): (Vec<_>, Vec<_>) =
            due.into_iter().map(|(at, command)| ((at, command.id), command)).unzip();
        let undecided = self.dispatcher.dispatch(commands).await?;
        let ids: BTreeSet<_> = undecided.iter().map(|(command, _)| command.id).collect();
        keys.retain(|(_, id)| !ids.contains(id));
        delete(&self.pool, &keys).await?;
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

/// Due timers in these lanes, the earliest first, without those of the tenants in `busy`; those of one tenant if `tenant`
/// names it.
async fn read_due(
    pool: &PgPool,
    lanes: &[i16],
    busy: Vec<Uuid>,
    tenant: Option<TenantId>,
) -> Result<Vec<(LaneId, Timestamp, EngineCommand)>, sqlx::Error> {
    sqlx::query(
        "SELECT r.lane, t.due_at, t.id, t.tenant, t.policy, t.causation, t.correlation, t.command, t.body::text AS body
         FROM work.timers t JOIN log.routes r ON r.tenant = t.tenant
         WHERE t.due_at <= $1 AND r.lane = ANY($3) AND t.tenant <> ALL($4) AND ($5::uuid IS NULL OR t.tenant = $5)
           AND NOT EXISTS (SELECT FROM work.hold)
         ORDER BY t.due_at LIMIT $2",
    )
    .bind(Timestamptz(now()))
    .bind(BATCH)
    .bind(lanes)
    .bind(busy)
    .bind(tenant.map(TenantId::uuid))
    .try_map(|row: PgRow| {
        let command = EngineCommand {
            id: CommandId::new(row.try_get("id")?),
            tenant: TenantId::new(row.try_get("tenant")?),
            policy: row.try_get("policy")?,
            causation: row.try_get("causation")?,
            correlation: row.try_get("correlation")?,
            name: row.try_get("command")?,
            body: row.try_get("body")?,
        };
        Ok((LaneId(row.try_get("lane")?), row.try_get::<Timestamptz, _>("due_at")?.0, command))
    })
    .fetch_all(pool)
    .await
}

/// Deletes rows. If a crash of the server undoes this, their commands are sent again and get the same answers.
async fn delete(pool: &PgPool, keys: &[(Timestamp, CommandId)]) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let text = "DELETE FROM work.timers t USING unnest($1::timestamptz[], $2::uuid[]) AS gone(due_at, id)
                WHERE t.due_at = gone.due_at AND t.id = gone.id";
    let (times, ids): (Vec<_>, Vec<_>) = keys.iter().map(|(at, id)| (Timestamptz(*at), id.uuid())).unzip();
    let mut transaction = pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
    sqlx::query(text).bind(times).bind(ids).execute(&mut *transaction).await?;
    transaction.commit().await
}
