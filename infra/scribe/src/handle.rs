//! Handle of the scribe: starts the loops of this process and submits commands to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use commands::kernel::NotNow;
use commands::scribe::{Answer, Envelope, LaneId};
use domain::shared::TenantId;
use event_log::{LaneCount, Routes, Tail};
use futures::future::join_all;
use sqlx::PgPool;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{mpsc, oneshot, watch};

use super::commit::Committer;
use super::driver::{Driver, Input};
use super::settings::ScribeSettings;
use super::status::{LoopStatus, OwnedLanes, Problems};

/// Submits commands to the scribe loops of this process.
#[derive(Clone)]
pub struct ScribeHandle {
    routes: Routes,
    inboxes: Vec<mpsc::Sender<Input>>,
    /// Number of finished commits. Its changes wake readers of the log.
    written: watch::Receiver<u64>,
    problems: Problems,
    owned: OwnedLanes,
    tail: Arc<Tail>,
}

/// Inputs that fit into the inbox of a loop. The loop empties the inbox into the scribe's queue, so under lasting overload
/// that queue is full, and refuses commands, before the inbox is.
const INBOX_MOST: usize = 4_096;

/// Time limit for answering all submitted commands during shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the scribe loops of this process. Each begins at once to take over its assigned lanes.
pub async fn start(settings: &ScribeSettings, pool: &PgPool) -> Result<ScribeHandle, sqlx::Error> {
    let (announce, written) = watch::channel(0);
    let announce = Arc::new(announce);
    let lanes = LaneCount::read(pool).await?;
    let (problems, owned, tail) = (Problems::default(), OwnedLanes::default(), Arc::new(Tail::new(lanes)));
    // A loop without lanes would have nothing to do.
    let loops = settings.loops.clamp(1, lanes.get());
    let mut inboxes = Vec::new();
    for number in 0..loops {
        let (inbox, inputs) = mpsc::channel(INBOX_MOST);
        let committer = Committer::connect(&settings.url).await?;
        let lanes = lanes.lanes().filter(|lane| usize::from(lane.0.unsigned_abs()) % loops == number).collect();
        let status = LoopStatus { number, lanes, problems: problems.clone(), owned: owned.clone(), tail: tail.clone() };
        let driver =
            Driver::new(settings.clone(), pool.clone(), inbox.downgrade(), committer, announce.clone(), status);
        tokio::spawn(driver.run(inputs));
        inboxes.push(inbox);
    }
    Ok(ScribeHandle { routes: Routes::new(pool.clone()), inboxes, written, problems, owned, tail })
}

impl ScribeHandle {
    /// Submits the commands of one request. They are decided in their order; there is one answer per command, in the
    /// same order.
    pub async fn submit(&self, tenant: TenantId, from_engine: bool, commands: Vec<Envelope>) -> Vec<Answer> {
        let count = commands.len();
        // A loop would never send the reply of a submission without commands.
        if count == 0 {
            return vec![];
        }
        let all = |reason: NotNow| vec![Answer::NotNow(reason); count];
        let Ok(lane) = self.routes.lane(tenant).await else { return all(NotNow::StoreAway) };
        let Some(inbox) = self.inboxes.get(usize::from(lane.0.unsigned_abs()) % self.inboxes.len()) else {
            return all(NotNow::LaneElsewhere);
        };
        let (reply, answers) = oneshot::channel();
        let input = Input::Submit { tenant, lane, from_engine, commands, reply };
        // Commands of the engine wait until the inbox has room. The inbox of a loop that has ended is closed.
        let sent = if from_engine {
            inbox.send(input).await.map_err(|SendError(input)| TrySendError::Closed(input))
        } else {
            inbox.try_send(input)
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return all(NotNow::ShuttingDown),
            Err(TrySendError::Full(_)) => return all(NotNow::Overloaded { retry_after_s: 1 }),
        }
        answers.await.unwrap_or_else(|_| all(NotNow::ShuttingDown))
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// A counter that increases after every commit of this process, including failed ones.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.clone()
    }

    /// Reasons for which commands of some lanes cannot be acknowledged now; empty if there are none.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().map(|problems| problems.values().cloned().collect()).unwrap_or_default()
    }

    /// Events that this process wrote recently.
    pub fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// True if this process owns the lane.
    pub fn owns(&self, lane: LaneId) -> bool {
        self.owned.lock().is_ok_and(|owned| owned.contains(&lane))
    }

    /// Lanes that this process owns. Its policies react to the events of these lanes, and of no others.
    pub fn owned_lanes(&self) -> BTreeSet<LaneId> {
        self.owned.lock().map(|owned| owned.clone()).unwrap_or_default()
    }

    /// Refuses new commands, and returns when all submitted commands are answered, or after ten seconds. A command that
    /// is still unanswered by then either has its receipt in the log or has no effect.
    pub async fn stop(&self) {
        let stopped = self.inboxes.iter().map(|inbox| async {
            let (done, stopped) = oneshot::channel();
            if inbox.send(Input::Stop(done)).await.is_ok() {
                stopped.await.ok();
            }
        });
        if tokio::time::timeout(STOP_TIMEOUT, join_all(stopped)).await.is_err() {
            tracing::warn!("a scribe loop did not stop in time; it is abandoned");
        }
    }
}
