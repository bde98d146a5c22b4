//! The scribes of this process: how they are started, and how commands get to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commands::kernel::NotNow;
use commands::scribe::{Answer, Envelope, LaneId, Limits, LoadOutcome, TakeOverOutcome};
use domain::shared::TenantId;
use futures::future::join_all;
use sqlx::PgPool;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::commit::Committer;
use super::driver::{Driver, Station};
use super::take_over::Owner;
use event_log::Routes;
use event_log::Tail;
use kafka::LANES;

/// How scribes are run.
#[derive(Clone, Debug)]
pub struct ScribeSettings {
    /// The server that keeps the log.
    pub url: String,
    pub owner: Owner,
    pub limits: Limits,
    /// Loops that run side by side; the lanes are dealt out among them.
    pub loops: usize,
    /// The lanes that fall to this process, where several share them out.
    pub share: watch::Receiver<BTreeSet<LaneId>>,
    /// The folder of the log's data, if it is on this machine: commands are refused when its disk is nearly full.
    pub data: Option<PathBuf>,
}

/// Sends commands to the scribes of this process.
#[derive(Clone)]
pub struct ScribeHandle {
    routes: Routes,
    inboxes: Vec<mpsc::Sender<Input>>,
    /// Counts the batches that were written, so that readers know when to look.
    written: watch::Receiver<u64>,
    /// Why a loop cannot acknowledge commands right now.
    troubles: Troubles,
    held: Held,
    tail: Arc<Tail>,
}

/// One sentence for each loop in trouble, by its number.
pub(super) type Troubles = Arc<Mutex<BTreeMap<usize, String>>>;

/// The lanes that this process writes, as far as it knows.
pub(super) type Held = Arc<Mutex<BTreeSet<LaneId>>>;

/// What a loop takes in.
pub(super) enum Input {
    Submit { tenant: TenantId, lane: LaneId, from_engine: bool, commands: Vec<Envelope>, reply: Reply },
    Loaded(Vec<LoadOutcome>),
    TakenOver(LaneId, TakeOverOutcome),
    Stop(oneshot::Sender<()>),
}

pub(super) type Reply = oneshot::Sender<Vec<Answer>>;

/// Inputs that may lie before a loop; beyond it senders wait, which the queue limit of the scribe keeps short.
const INBOX_MOST: usize = 4_096;

/// How long scribes may take to answer what they have taken in, once they are asked to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Starts the scribes of this process; each one takes its lanes over at once.
pub async fn start(settings: &ScribeSettings, pool: &PgPool) -> Result<ScribeHandle, sqlx::Error> {
    let (announce, written) = watch::channel(0);
    let announce = Arc::new(announce);
    let (troubles, held, tail) = (Troubles::default(), Held::default(), Arc::<Tail>::default());
    let mut inboxes = Vec::new();
    for number in 0..settings.loops.max(1) {
        let (inbox, inputs) = mpsc::channel(INBOX_MOST);
        let committer = Committer::connect(&settings.url).await?;
        let lanes = (0..LANES).filter(|lane| usize::from(lane.unsigned_abs()) % settings.loops.max(1) == number);
        let lanes = lanes.map(LaneId).collect();
        let station = Station { number, lanes, troubles: troubles.clone(), held: held.clone(), tail: tail.clone() };
        let driver =
            Driver::new(settings.clone(), pool.clone(), inbox.downgrade(), committer, announce.clone(), station);
        tokio::spawn(driver.run(inputs));
        inboxes.push(inbox);
    }
    Ok(ScribeHandle { routes: Routes::new(pool.clone()), inboxes, written, troubles, held, tail })
}

impl ScribeHandle {
    /// Decides the commands of one request in their order. One answer each, in the same order.
    pub async fn submit(&self, tenant: TenantId, from_engine: bool, commands: Vec<Envelope>) -> Vec<Answer> {
        let count = commands.len();
        // Nothing to decide is decided; a loop would wait for its answer.
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
        // The engine's own commands wait for room. A loop that has ended takes nothing in any more.
        let sent = if from_engine {
            inbox.send(input).await.map_err(|_| true)
        } else {
            inbox.try_send(input).map_err(|refused| matches!(refused, TrySendError::Closed(_)))
        };
        match sent {
            Ok(()) => {}
            Err(true) => return all(NotNow::ShuttingDown),
            Err(false) => return all(NotNow::Overloaded { retry_after_s: 1 }),
        }
        answers.await.unwrap_or_else(|_| all(NotNow::ShuttingDown))
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Changes whenever something was written by this process.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.clone()
    }

    /// Why commands of some lanes cannot be acknowledged right now; empty when all is well.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.lock().map(|troubles| troubles.values().cloned().collect()).unwrap_or_default()
    }

    /// What this process wrote lately.
    pub fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Whether this process writes a lane.
    pub fn holds(&self, lane: LaneId) -> bool {
        self.held.lock().is_ok_and(|held| held.contains(&lane))
    }

    /// The lanes that this process writes. What must follow from their events is its business; that of others is not.
    pub fn held(&self) -> BTreeSet<LaneId> {
        self.held.lock().map(|held| held.clone()).unwrap_or_default()
    }

    /// Takes nothing more in, and returns when everything that was taken in is answered, or when the store keeps it
    /// waiting for too long: what was not answered then has its answer in the log, or was never decided.
    pub async fn stop(&self) {
        let stopped = self.inboxes.iter().map(|inbox| async {
            let (done, stopped) = oneshot::channel();
            if inbox.send(Input::Stop(done)).await.is_ok() {
                stopped.await.ok();
            }
        });
        if tokio::time::timeout(STOPPED_WITHIN, join_all(stopped)).await.is_err() {
            tracing::warn!("a scribe did not come to its end in time; it is left where it is");
        }
    }
}
