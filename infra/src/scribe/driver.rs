//! The loop that feeds one scribe and does what it asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commands::kernel::{Kinds, NotNow};
use commands::scribe::{
    Answer, Answered, Envelope, LaneId, Limits, Load, Loaded, Output, Scribe, Submission, TakeOverOutcome, Ticket,
};
use domain::shared::TenantId;
use foldhash::HashMap;
use sqlx::PgPool;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::commit::{Committed, Committer};
use super::figures;
use super::guard::{self, Condition};
use super::load::run_loader;
use super::now;
use super::routes::Routes;
use super::take_over::{LANES, Owner, take_over};

/// How scribes are run.
#[derive(Clone, Debug)]
pub struct ScribeSettings {
    /// The server that keeps the log.
    pub url: String,
    pub owner: Owner,
    pub limits: Limits,
    /// Loops that run side by side; the lanes are dealt out among them.
    pub loops: usize,
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
}

/// One sentence for each loop in trouble, by its number.
type Troubles = Arc<Mutex<BTreeMap<usize, String>>>;

/// The lanes that this process writes, as far as it knows.
type Held = Arc<Mutex<BTreeSet<LaneId>>>;

enum Input {
    Submit { tenant: TenantId, lane: LaneId, from_engine: bool, commands: Vec<Envelope>, reply: Reply },
    Loaded(Vec<Loaded>),
    TakenOver(LaneId, TakeOverOutcome),
    Stop(oneshot::Sender<()>),
}

type Reply = oneshot::Sender<Vec<Answer>>;

/// Inputs that may lie before a loop; beyond it senders wait, which the queue limit of the scribe keeps short.
const INBOX_MOST: usize = 4_096;
/// How often the lease is renewed and the store's condition is read.
const TICK: Duration = Duration::from_secs(2);
/// A store that has not answered for so long is away, whatever it may answer later.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// How long a lane that could not be taken over is left alone.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(200);

/// Starts the scribes of this process; each one takes its lanes over at once.
pub async fn start(settings: &ScribeSettings, pool: &PgPool) -> Result<ScribeHandle, sqlx::Error> {
    let (announce, written) = watch::channel(0);
    let announce = Arc::new(announce);
    let (troubles, held) = (Troubles::default(), Held::default());
    let mut inboxes = Vec::new();
    for number in 0..settings.loops.max(1) {
        let (inbox, inputs) = mpsc::channel(INBOX_MOST);
        let committer = Committer::connect(&settings.url).await?;
        let lanes = (0..LANES).filter(|lane| usize::from(lane.unsigned_abs()) % settings.loops.max(1) == number);
        let station =
            Station { number, lanes: lanes.map(LaneId).collect(), troubles: troubles.clone(), held: held.clone() };
        let driver =
            Driver::new(settings.clone(), pool.clone(), inbox.downgrade(), committer, announce.clone(), station);
        tokio::spawn(driver.run(inputs));
        inboxes.push(inbox);
    }
    Ok(ScribeHandle { routes: Routes::new(pool.clone()), inboxes, written, troubles, held })
}

impl ScribeHandle {
    /// Decides the commands of one request in their order. One answer each, in the same order.
    pub async fn submit(&self, tenant: TenantId, from_engine: bool, commands: Vec<Envelope>) -> Vec<Answer> {
        let count = commands.len();
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

    /// The lanes that this process writes. What must follow from their events is its business; that of others is not.
    pub fn held(&self) -> BTreeSet<LaneId> {
        self.held.lock().map(|held| held.clone()).unwrap_or_default()
    }

    /// Takes nothing more in, and returns when everything that was taken in is answered.
    pub async fn stop(&self) {
        for inbox in &self.inboxes {
            let (done, stopped) = oneshot::channel();
            if inbox.send(Input::Stop(done)).await.is_ok() {
                stopped.await.ok();
            }
        }
    }
}

struct Driver {
    settings: ScribeSettings,
    pool: PgPool,
    scribe: Scribe,
    inbox: mpsc::WeakSender<Input>,
    loads: mpsc::UnboundedSender<Load>,
    replies: HashMap<Ticket, Waiting>,
    last_ticket: u64,
    committer: Option<Committer>,
    committing: Option<Pin<Box<dyn Future<Output = Committed> + Send>>>,
    committing_since: Instant,
    announce: Arc<watch::Sender<u64>>,
    condition: Condition,
    station: Station,
    stopping: Vec<oneshot::Sender<()>>,
}

/// Which loop this is, and where it tells others how it fares.
struct Station {
    number: usize,
    lanes: Vec<LaneId>,
    troubles: Troubles,
    held: Held,
}

/// A submission and the answers it has so far.
struct Waiting {
    reply: Reply,
    answers: Vec<Option<Answer>>,
    open: usize,
}

impl Driver {
    fn new(
        settings: ScribeSettings,
        pool: PgPool,
        inbox: mpsc::WeakSender<Input>,
        committer: Committer,
        announce: Arc<watch::Sender<u64>>,
        station: Station,
    ) -> Self {
        let (loads, wanted) = mpsc::unbounded_channel();
        let deliver = inbox.clone();
        tokio::spawn(run_loader(pool.clone(), Arc::new(Kinds::all()), wanted, move |loaded| {
            let inbox = deliver.upgrade();
            async move {
                if let Some(inbox) = inbox {
                    inbox.send(Input::Loaded(loaded)).await.ok();
                }
            }
        }));
        Self {
            scribe: Scribe::new(settings.limits.clone(), Kinds::all()),
            settings,
            pool,
            inbox,
            loads,
            replies: HashMap::default(),
            last_ticket: 0,
            committer: Some(committer),
            committing: None,
            committing_since: Instant::now(),
            announce,
            condition: Condition::Fine,
            station,
            stopping: Vec::new(),
        }
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.station.lanes.iter().for_each(|lane| self.scribe.claim(*lane));
        self.report();
        let mut ready = Vec::new();
        loop {
            tokio::select! {
                biased;
                committed = wait_for(&mut self.committing) => self.take_outcome(committed),
                count = inputs.recv_many(&mut ready, 256) => match count {
                    0 => break,
                    _ => ready.drain(..).for_each(|input| self.take(input)),
                },
                _ = tick.tick() => self.look_after().await,
            }
            self.scribe.step(now());
            self.do_outputs();
            if !self.stopping.is_empty() && self.scribe.is_idle() {
                break;
            }
        }
        self.let_go().await;
        self.stopping.drain(..).for_each(|done| _ = done.send(()));
    }

    /// Others may take the lanes at once.
    async fn let_go(&mut self) {
        let held: Vec<_> = self.scribe.held().collect();
        if let Some(committer) = &mut self.committer {
            committer.renew(&held, 0).await.ok();
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Submit { tenant, lane, from_engine, commands, reply } => {
                let refused = match &self.condition {
                    _ if !self.stopping.is_empty() => Some(NotNow::ShuttingDown),
                    Condition::Fine => None,
                    Condition::Unsafe(reason) => Some(NotNow::StoreUnsafe(reason.clone())),
                    Condition::Away => Some(NotNow::StoreAway),
                };
                if let Some(reason) = refused {
                    reply.send(vec![Answer::NotNow(reason); commands.len()]).ok();
                    return;
                }
                self.last_ticket = self.last_ticket.saturating_add(1);
                let ticket = Ticket(self.last_ticket);
                let waiting = Waiting { reply, answers: vec![None; commands.len()], open: commands.len() };
                self.replies.insert(ticket, waiting);
                self.scribe.submit(Submission { ticket, tenant, lane, from_engine, commands }, now());
            }
            Input::Loaded(loaded) => loaded.into_iter().for_each(|loaded| self.scribe.loaded(loaded, now())),
            Input::TakenOver(lane, outcome) => {
                self.scribe.taken_over(lane, &outcome, now());
                self.report();
            }
            Input::Stop(done) => self.stopping.push(done),
        }
    }

    fn do_outputs(&mut self) {
        while let Some(output) = self.scribe.next_output() {
            match output {
                Output::Load(load) => drop(self.loads.send(load)),
                Output::Answer(answered) => self.answer(answered),
                Output::TakeOver(lane) => self.take_over(lane),
                Output::Commit(batch) => {
                    self.committing_since = Instant::now();
                    let committer = self.committer.take();
                    let url = self.settings.url.clone();
                    self.committing = Some(Box::pin(async move {
                        let committer = match committer {
                            Some(committer) => Ok(committer),
                            None => Committer::connect(&url).await,
                        };
                        match committer {
                            Ok(committer) => committer.commit(batch).await,
                            Err(error) => Committed::not_written(batch.id, &error),
                        }
                    }));
                }
            }
        }
    }

    fn answer(&mut self, answered: Answered) {
        let Answered { ticket, index, answer } = answered;
        figures::answered(&answer);
        let Some(waiting) = self.replies.get_mut(&ticket) else { return };
        if let Some(slot) = waiting.answers.get_mut(index) {
            waiting.open = waiting.open.saturating_sub(usize::from(slot.is_none()));
            *slot = Some(answer);
        }
        if waiting.open == 0
            && let Some(waiting) = self.replies.remove(&ticket)
        {
            let answers = waiting.answers.into_iter().flatten().collect();
            waiting.reply.send(answers).ok();
        }
    }

    fn take_outcome(&mut self, committed: Committed) {
        self.committing = None;
        self.committer = committed.committer;
        self.scribe.committed(&committed.outcome);
        self.announce.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn take_over(&self, lane: LaneId) {
        let (pool, owner, inbox) = (self.pool.clone(), self.settings.owner.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let outcome = take_over(&pool, &owner, lane).await;
            if !matches!(outcome, TakeOverOutcome::Ours { .. }) {
                tokio::time::sleep(TAKE_OVER_PAUSE).await;
            }
            if let Some(inbox) = inbox.upgrade() {
                inbox.send(Input::TakenOver(lane, outcome)).await.ok();
            }
        });
    }

    /// Between batches: renews the lease, and finds out whether it is still safe to acknowledge commands.
    async fn look_after(&mut self) {
        if self.committing.is_some() {
            if self.committing_since.elapsed() > STUCK_AFTER {
                self.condition = Condition::Away;
                self.report();
            }
            return;
        }
        if self.committer.is_none() {
            self.committer = Committer::connect(&self.settings.url).await.ok();
        }
        let Some(committer) = &mut self.committer else {
            self.condition = Condition::Away;
            return;
        };
        let held: Vec<_> = self.scribe.held().collect();
        let looked = async {
            committer.renew(&held, self.settings.owner.lease_ms).await?;
            guard::condition(committer.connection(), self.settings.data.as_deref()).await
        };
        let condition = tokio::time::timeout(STUCK_AFTER, looked).await;
        let condition = condition.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let condition = condition.unwrap_or_else(|error| {
            tracing::warn!(%error, "the store cannot be looked after");
            self.committer = None;
            Condition::Away
        });
        if matches!(condition, Condition::Unsafe(_)) {
            // A session keeps the settings it began with: only a new one can tell that they were mended.
            self.committer = None;
        }
        if condition != self.condition {
            tracing::warn!(?condition, "the condition of the store has changed");
        }
        self.condition = condition;
        figures::queued(self.station.number, self.scribe.queued());
        // A lane that nobody asks for is taken all the same, as soon as its owner is gone.
        self.station.lanes.iter().for_each(|lane| self.scribe.claim(*lane));
        self.report();
    }

    /// Tells others how this loop fares.
    fn report(&self) {
        let ours: BTreeSet<_> = self.scribe.held().map(|(lane, _)| lane).collect();
        let (held, lanes) = (ours.len(), self.station.lanes.len());
        if let Ok(mut held) = self.station.held.lock() {
            held.retain(|lane| !self.station.lanes.contains(lane));
            held.extend(ours);
        }
        let trouble = match &self.condition {
            Condition::Unsafe(reason) => Some(format!("the store is not safe to write to: {reason}")),
            Condition::Away => Some("the store cannot be reached".to_owned()),
            Condition::Fine if held < lanes => Some(format!("{held} of {lanes} lanes are taken over")),
            Condition::Fine => None,
        };
        if let Ok(mut troubles) = self.station.troubles.lock() {
            match trouble {
                Some(trouble) => _ = troubles.insert(self.station.number, trouble),
                None => _ = troubles.remove(&self.station.number),
            }
        }
    }
}

async fn wait_for(committing: &mut Option<Pin<Box<dyn Future<Output = Committed> + Send>>>) -> Committed {
    match committing {
        Some(committing) => committing.await,
        None => std::future::pending().await,
    }
}
