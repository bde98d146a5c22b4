//! The loop that feeds one scribe and does what it asks for.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use commands::kernel::{NotNow, StateRegistry};
use commands::scribe::{Answer, CommandAnswer, LaneId, Load, Output, Scribe, Submission, TakeOverOutcome, Ticket};
use domain::shared::Timestamp;
use foldhash::HashMap;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::commit::{Committed, Committer};
use super::figures;
use super::guard::{self, Condition};
use super::handle::{Held, Input, Reply, ScribeSettings, Troubles};
use super::load::run_loader;
use super::take_over::take_over;
use event_log::Tail;
use platform::clock::now;
use platform::connectivity::silence;

/// How often the lease is renewed and the store's condition is read.
const TICK: Duration = Duration::from_secs(1);
/// A store that has not answered for so long is away, whatever it may answer later.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// After so long the answer to a batch is not waited for any more: its connection may be dead without a word. What became of
/// the batch is read from its receipts.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);
/// How long a lane that could not be taken over is left alone.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(200);

/// One loop: inputs go into the state machine, and what comes out of it is done.
pub(super) struct Driver {
    settings: ScribeSettings,
    pool: PgPool,
    scribe: Scribe,
    inbox: mpsc::WeakSender<Input>,
    loads: mpsc::UnboundedSender<Load>,
    replies: HashMap<Ticket, Waiting>,
    last_ticket: u64,
    answers: figures::Answers,
    committer: Option<Committer>,
    committing: Option<Pin<Box<dyn Future<Output = Committed> + Send>>>,
    committing_since: Instant,
    announce: Arc<watch::Sender<u64>>,
    condition: Condition,
    /// It is time to look after the store, as soon as no batch is being committed.
    due: bool,
    station: Station,
    stopping: Vec<oneshot::Sender<()>>,
}

/// Which loop this is, and where it tells others how it fares.
pub(super) struct Station {
    pub(super) number: usize,
    pub(super) lanes: Vec<LaneId>,
    pub(super) troubles: Troubles,
    pub(super) held: Held,
    pub(super) tail: Arc<Tail>,
}

/// A submission and the answers it has so far.
struct Waiting {
    reply: Reply,
    answers: Vec<Option<Answer>>,
    open: usize,
}

impl Driver {
    pub(super) fn new(
        settings: ScribeSettings,
        pool: PgPool,
        inbox: mpsc::WeakSender<Input>,
        committer: Committer,
        announce: Arc<watch::Sender<u64>>,
        station: Station,
    ) -> Self {
        let (loads, wanted) = mpsc::unbounded_channel();
        let deliver = inbox.clone();
        tokio::spawn(run_loader(pool.clone(), Arc::new(StateRegistry::all()), wanted, move |loaded| {
            let inbox = deliver.upgrade();
            async move {
                if let Some(inbox) = inbox {
                    inbox.send(Input::Loaded(loaded)).await.ok();
                }
            }
        }));
        Self {
            scribe: Scribe::new(settings.limits.clone(), StateRegistry::all()),
            settings,
            pool,
            inbox,
            loads,
            replies: HashMap::default(),
            last_ticket: 0,
            answers: figures::Answers::new(),
            committer: Some(committer),
            committing: None,
            committing_since: Instant::now(),
            announce,
            condition: Condition::Fine,
            due: false,
            station,
            stopping: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.claim();
        self.report();
        let mut ready = Vec::new();
        loop {
            tokio::select! {
                biased;
                committed = wait_for(&mut self.committing) => {
                    self.take_outcome(committed);
                    if self.due {
                        self.look_after().await;
                    }
                }
                count = inputs.recv_many(&mut ready, 256) => match count {
                    0 => break,
                    _ => {
                        let now = now();
                        ready.drain(..).for_each(|input| self.take(input, now));
                    }
                },
                _ = tick.tick() => match self.committing {
                    None => self.look_after().await,
                    Some(_) => self.wait_to_look_after(),
                },
                Ok(()) = self.settings.share.changed() => self.due = true,
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
        let held: Vec<_> = self.scribe.owned_lanes().collect();
        if let Some(committer) = &mut self.committer {
            committer.renew(&held, 0).await.ok();
        }
    }

    fn take(&mut self, input: Input, now: Timestamp) {
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
                let waiting = Waiting { reply, answers: commands.iter().map(|_| None).collect(), open: commands.len() };
                self.replies.insert(ticket, waiting);
                self.scribe.submit(Submission { ticket, tenant, lane, from_engine, commands }, now);
            }
            Input::Loaded(loaded) => loaded.into_iter().for_each(|loaded| self.scribe.loaded(loaded, now)),
            Input::TakenOver(lane, outcome) => {
                self.station.tail.forget(lane);
                self.scribe.taken_over(lane, &outcome, now);
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
                        let id = batch.id;
                        match committer {
                            Ok(committer) => timeout(GIVEN_UP_AFTER, committer.commit(batch))
                                .await
                                .unwrap_or_else(|_| Committed::not_written(id, &silence())),
                            Err(error) => Committed::not_written(id, &error),
                        }
                    }));
                }
            }
        }
    }

    fn answer(&mut self, answered: CommandAnswer) {
        let CommandAnswer { ticket, index, answer } = answered;
        self.answers.count(&answer);
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
        for (lane, part) in committed.parts {
            if committed.outcome.written.contains(&lane) {
                self.station.tail.append(lane, part.epoch, part.events);
            }
        }
        self.scribe.committed(&committed.outcome);
        if self.committer.is_none() {
            self.doubt();
        }
        self.announce.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The connection is gone, and the next one may lead to a server that took over and lacks the last commits: nothing
    /// that is in memory counts any more until the lanes were taken over again.
    fn doubt(&mut self) {
        let held: Vec<_> = self.scribe.owned_lanes().map(|(lane, _)| lane).collect();
        for lane in held {
            self.station.tail.forget(lane);
            self.scribe.lost(lane);
        }
    }

    fn take_over(&self, lane: LaneId) {
        let (pool, owner, inbox) = (self.pool.clone(), self.settings.owner.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let outcome = take_over(&pool, &owner, lane).await;
            if !matches!(outcome, TakeOverOutcome::Owned { .. }) {
                tokio::time::sleep(TAKE_OVER_PAUSE).await;
            }
            if let Some(inbox) = inbox.upgrade() {
                inbox.send(Input::TakenOver(lane, outcome)).await.ok();
            }
        });
    }

    /// A batch is being committed; perhaps for too long.
    fn wait_to_look_after(&mut self) {
        self.due = true;
        if self.committing_since.elapsed() > STUCK_AFTER {
            self.condition = Condition::Away;
            self.report();
        }
    }

    /// Asks for the lanes that fall to this loop; also for those that nobody needs now, as soon as their owner is gone.
    fn claim(&mut self) {
        let share = self.settings.share.borrow_and_update().clone();
        self.station.lanes.iter().filter(|lane| share.contains(lane)).for_each(|lane| self.scribe.claim(*lane));
    }

    /// Says that we still write our lanes, and gives up those that fall to others now.
    async fn renew(&mut self, committer: &mut Committer) -> Result<(), sqlx::Error> {
        let (ours, others): (Vec<_>, Vec<_>) = {
            let share = self.settings.share.borrow();
            self.scribe.owned_lanes().partition(|(lane, _)| share.contains(lane))
        };
        let mut ours_still = committer.renew(&others, 0).await?;
        ours_still.extend(committer.renew(&ours, self.settings.owner.lease_ms).await?);
        for (lane, _) in ours.iter().chain(&others).filter(|(lane, _)| !ours_still.contains(lane)) {
            self.scribe.lost(*lane);
        }
        Ok(())
    }

    /// Between batches: renews the lease, and finds out whether it is still safe to acknowledge commands.
    async fn look_after(&mut self) {
        self.due = false;
        if self.committer.is_none() {
            self.committer = Committer::connect(&self.settings.url).await.ok();
        }
        let Some(mut committer) = self.committer.take() else {
            self.condition = Condition::Away;
            self.report();
            return;
        };
        let looked = async {
            self.renew(&mut committer).await?;
            guard::condition(committer.connection(), self.settings.data.as_deref()).await
        };
        let condition = timeout(STUCK_AFTER, looked).await;
        let condition = condition.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let condition = condition.unwrap_or_else(|error| {
            tracing::warn!(%error, "the store cannot be looked after");
            Condition::Away
        });
        // A session keeps the settings it began with: only a new one can tell that unsafe ones were mended.
        self.committer = Some(committer).filter(|_| matches!(condition, Condition::Fine));
        if self.committer.is_none() {
            self.doubt();
        }
        if condition != self.condition {
            tracing::warn!(?condition, "the condition of the store has changed");
        }
        self.condition = condition;
        figures::queued(self.station.number, self.scribe.queued());
        self.claim();
        self.report();
    }

    /// Tells others how this loop fares.
    fn report(&self) {
        let ours: BTreeSet<_> = self.scribe.owned_lanes().map(|(lane, _)| lane).collect();
        let lanes = {
            let share = self.settings.share.borrow();
            self.station.lanes.iter().filter(|lane| share.contains(lane)).count()
        };
        let held = ours.len();
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
