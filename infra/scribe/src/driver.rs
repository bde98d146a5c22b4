//! Driver: the loop that passes inputs to one scribe state machine and carries out its outputs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use commands::kernel::NotNow;
use commands::scribe::{
    Answer, Batch, Envelope, LaneId, Load, LoadOutcome, Output, Scribe, Submission, TakeOverOutcome,
};
use domain::shared::{TenantId, Timestamp};
use platform::connectivity::timeout_error;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::commit::{Committed, Committer, commit_batch};
use super::durability::{self, StoreCondition};
use super::load::run_loader;
use super::metrics;
use super::replies::{PendingReplies, Reply};
use super::settings::ScribeSettings;
use super::status::LoopStatus;
use super::take_over_delay::TakeOverDelays;
use super::takeover::take_over;

/// Interval at which leases are renewed and the condition of the store is checked.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which the store counts as unavailable: it has not answered the maintenance statements, or has not
/// finished a commit, which may still succeed.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed take-over of a lane.
const TAKE_OVER_RETRY: Duration = Duration::from_millis(200);

/// Input of a scribe loop: commands of callers, and results of background tasks.
pub(super) enum Input {
    Submit { tenant: TenantId, lane: LaneId, from_engine: bool, commands: Vec<Envelope>, reply: Reply },
    Loaded(Vec<LoadOutcome>),
    TakenOver(LaneId, TakeOverOutcome),
    Stop(oneshot::Sender<()>),
}

type Commit = Pin<Box<dyn Future<Output = Committed> + Send>>;

/// Loop around one scribe: carries out its outputs on one database connection and replies to the callers.
pub(super) struct Driver {
    settings: ScribeSettings,
    pool: PgPool,
    scribe: Scribe,
    /// Inbox of this loop, for results of background tasks. Weak, so that the loop ends with the last handle.
    inbox: mpsc::WeakSender<Input>,
    loads: mpsc::UnboundedSender<Load>,
    replies: PendingReplies,
    /// `None` while a batch is being committed, and after its connection was lost.
    committer: Option<Committer>,
    commit: Option<Commit>,
    commit_started_at: Instant,
    /// Number of finished commits. Its changes wake the readers of the log in this process.
    announce: Arc<watch::Sender<u64>>,
    condition: StoreCondition,
    take_over_delays: TakeOverDelays,
    /// Maintenance is due as soon as no batch is being committed.
    maintenance_due: bool,
    status: LoopStatus,
    /// Callers that wait for the end of the loop. No command is accepted while there is one.
    stopping: Vec<oneshot::Sender<()>>,
}

impl Driver {
    pub(super) fn new(
        settings: ScribeSettings,
        pool: PgPool,
        inbox: mpsc::WeakSender<Input>,
        committer: Committer,
        announce: Arc<watch::Sender<u64>>,
        status: LoopStatus,
    ) -> Self {
        let (loads, requested) = mpsc::unbounded_channel();
        let deliver = inbox.clone();
        tokio::spawn(run_loader(pool.clone(), Arc::new(settings.states.clone()), requested, move |loaded| {
            let inbox = deliver.upgrade();
            async move {
                if let Some(inbox) = inbox {
                    inbox.send(Input::Loaded(loaded)).await.ok();
                }
            }
        }));
        Self {
            scribe: Scribe::new(settings.limits.clone(), settings.states.clone()),
            settings,
            pool,
            inbox,
            loads,
            replies: PendingReplies::new(),
            committer: Some(committer),
            commit: None,
            commit_started_at: Instant::now(),
            announce,
            condition: StoreCondition::Safe,
            take_over_delays: TakeOverDelays::default(),
            maintenance_due: false,
            status,
            stopping: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut tick = tokio::time::interval(MAINTENANCE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.reset();
        // Compares the clocks before the first lane is taken over.
        self.maintain().await;
        self.carry_out_outputs();
        let mut ready = Vec::new();
        loop {
            tokio::select! {
                biased;
                committed = commit_outcome(&mut self.commit) => {
                    self.finish_commit(committed);
                    if self.maintenance_due {
                        self.maintain().await;
                    }
                }
                count = inputs.recv_many(&mut ready, 256) => match count {
                    0 => break,
                    _ => {
                        let now = self.settings.clock.now();
                        ready.drain(..).for_each(|input| self.accept(input, now));
                    }
                },
                _ = tick.tick() => match self.commit {
                    None => self.maintain().await,
                    Some(_) => self.postpone_maintenance(),
                },
                Ok(()) = self.settings.assigned_lanes.changed() => self.maintenance_due = true,
            }
            self.scribe.step(self.settings.clock.now());
            self.carry_out_outputs();
            if !self.stopping.is_empty() && self.scribe.is_idle() {
                break;
            }
        }
        self.release_lanes().await;
        self.stopping.drain(..).for_each(|done| _ = done.send(()));
    }

    /// Ends the leases of the owned lanes, so that other processes can take them over at once.
    async fn release_lanes(&mut self) {
        let owned: Vec<_> = self.scribe.owned_lanes().collect();
        if let Some(committer) = &mut self.committer {
            committer.renew(&owned, 0).await.ok();
        }
    }

    /// Passes an input to the scribe. While the store is not safe, the clock is off or the loop is stopping, commands are
    /// refused.
    fn accept(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Submit { tenant, lane, from_engine, commands, reply } => {
                let refused = match &self.condition {
                    _ if !self.stopping.is_empty() => Some(NotNow::ShuttingDown),
                    StoreCondition::Safe => None,
                    StoreCondition::Unsafe(reason) => Some(NotNow::StoreUnsafe(reason.clone())),
                    StoreCondition::Unavailable => Some(NotNow::StoreAway),
                    StoreCondition::ClockOff(difference) => Some(NotNow::ClockOff(difference.clone())),
                };
                if let Some(reason) = refused {
                    reply.send(vec![Answer::NotNow(reason); commands.len()]).ok();
                    return;
                }
                let ticket = self.replies.register(reply, commands.len());
                self.scribe.submit(Submission { ticket, tenant, lane, from_engine, commands }, now);
            }
            Input::Loaded(loaded) => loaded.into_iter().for_each(|loaded| self.scribe.loaded(loaded, now)),
            Input::TakenOver(lane, outcome) => {
                self.status.tail.clear(lane);
                self.scribe.taken_over(lane, &outcome, now);
                self.publish_status();
            }
            Input::Stop(done) => self.stopping.push(done),
        }
    }

    fn carry_out_outputs(&mut self) {
        while let Some(output) = self.scribe.next_output() {
            match output {
                Output::Load(load) => drop(self.loads.send(load)),
                Output::Answer(answered) => self.replies.add(answered),
                Output::TakeOver(lane) => self.start_take_over(lane),
                Output::Commit(batch) => self.start_commit(batch),
            }
        }
    }

    fn start_commit(&mut self, batch: Batch) {
        self.commit_started_at = Instant::now();
        let (committer, url) = (self.committer.take(), self.settings.url.clone());
        self.commit = Some(Box::pin(commit_batch(committer, url, batch)));
    }

    fn finish_commit(&mut self, committed: Committed) {
        self.commit = None;
        self.committer = committed.committer;
        for (lane, part) in committed.parts {
            let is_written = committed.outcome.written.contains(&lane);
            // The command whose data the store refuses is found by repeated batches, which must not wait.
            if is_written || !committed.outcome.refused_data {
                self.take_over_delays.record(lane, is_written);
            }
            if is_written {
                self.status.tail.append(lane, part.epoch, part.events);
            }
        }
        self.scribe.committed(&committed.outcome);
        if self.committer.is_none() {
            self.give_up_lanes();
        }
        self.announce.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Gives up all owned lanes in memory, to be taken over again, when the connection was lost or closed because the
    /// store is not safe. The next connection may lead to a promoted standby that lacks the last commits, so cached
    /// states are valid again only after the take-over.
    fn give_up_lanes(&mut self) {
        let owned: Vec<_> = self.scribe.owned_lanes().map(|(lane, _)| lane).collect();
        for lane in owned {
            self.status.tail.clear(lane);
            self.scribe.lost(lane);
        }
    }

    /// Takes a lane over in the background, after a delay if its batches failed repeatedly.
    fn start_take_over(&self, lane: LaneId) {
        let (pool, owner, inbox) = (self.pool.clone(), self.settings.owner.clone(), self.inbox.clone());
        let (clock, delay) = (self.settings.clock.clone(), self.take_over_delays.delay(lane));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let outcome = take_over(&pool, &owner, &clock, lane).await;
            if !matches!(outcome, TakeOverOutcome::Owned { .. }) {
                tokio::time::sleep(TAKE_OVER_RETRY).await;
            }
            if let Some(inbox) = inbox.upgrade() {
                inbox.send(Input::TakenOver(lane, outcome)).await.ok();
            }
        });
    }

    /// Postpones maintenance until the commit has finished. A commit that takes too long makes the store unavailable.
    fn postpone_maintenance(&mut self) {
        self.maintenance_due = true;
        if self.commit_started_at.elapsed() > STORE_TIMEOUT {
            self.condition = StoreCondition::Unavailable;
            self.publish_status();
        }
    }

    /// Starts to take over the assigned lanes of this loop that it does not own, even without commands for them. A
    /// take-over succeeds when the lease of the owner has expired.
    fn claim_lanes(&mut self) {
        if self.settings.clock.is_off() {
            return;
        }
        let assigned = self.settings.assigned_lanes.borrow_and_update().clone();
        self.status.lanes.iter().filter(|lane| assigned.contains(lane)).for_each(|lane| self.scribe.claim(*lane));
    }

    /// Renews the leases of owned lanes that are assigned to this process, and ends those of owned lanes that are
    /// assigned to others; all of them while the clock is off. A lane whose epoch has changed is lost.
    async fn renew_leases(&mut self, committer: &mut Committer) -> Result<(), sqlx::Error> {
        let (ours, others): (Vec<_>, Vec<_>) = {
            let (assigned, is_off) = (self.settings.assigned_lanes.borrow(), self.settings.clock.is_off());
            self.scribe.owned_lanes().partition(|(lane, _)| assigned.contains(lane) && !is_off)
        };
        let mut renewed = committer.renew(&others, 0).await?;
        renewed.extend(committer.renew(&ours, self.settings.owner.lease_ms).await?);
        for (lane, _) in ours.iter().chain(&others).filter(|(lane, _)| !renewed.contains(lane)) {
            self.scribe.lost(*lane);
        }
        Ok(())
    }

    /// Maintenance between batches: connects if there is no connection, compares the clocks, renews leases, and checks
    /// that the store is safe. Claims lanes and publishes the status.
    async fn maintain(&mut self) {
        self.maintenance_due = false;
        if self.committer.is_none() {
            self.committer = Committer::connect(&self.settings.url).await.ok();
        }
        let Some(mut committer) = self.committer.take() else {
            self.condition = StoreCondition::Unavailable;
            self.publish_status();
            return;
        };
        let check = async {
            self.settings.clock.compare(committer.connection()).await?;
            self.renew_leases(&mut committer).await?;
            durability::check_store(committer.connection(), self.settings.data.as_deref()).await
        };
        let checked = timeout(STORE_TIMEOUT, check).await.unwrap_or_else(|_| Err(timeout_error()));
        let condition = checked.unwrap_or_else(|error| {
            tracing::warn!(%error, "leases cannot be renewed, or the store cannot be checked");
            StoreCondition::Unavailable
        });
        let condition = match (condition, self.settings.clock.problem()) {
            (StoreCondition::Safe, Some(difference)) => StoreCondition::ClockOff(difference),
            (condition, _) => condition,
        };
        // An unsafe session is closed, because it keeps the settings that it began with: only a new one shows whether
        // they were corrected.
        let keeps_session = matches!(condition, StoreCondition::Safe | StoreCondition::ClockOff(_));
        self.committer = Some(committer).filter(|_| keeps_session);
        if !matches!(condition, StoreCondition::Safe) {
            self.give_up_lanes();
        }
        // The clock is reported by its monitor, with a difference that changes all the time.
        let clock_off = |condition: &StoreCondition| matches!(condition, StoreCondition::ClockOff(_));
        if condition != self.condition && !(clock_off(&condition) || clock_off(&self.condition)) {
            tracing::warn!(?condition, "the condition of the store has changed");
        }
        self.condition = condition;
        metrics::record_queue(self.status.number, self.scribe.queued());
        self.claim_lanes();
        self.publish_status();
    }

    fn publish_status(&self) {
        let owned = self.scribe.owned_lanes().map(|(lane, _)| lane).collect();
        self.status.publish(owned, &self.settings.assigned_lanes.borrow(), &self.condition);
    }
}

/// Outcome of the running commit; never ready while none is running.
async fn commit_outcome(commit: &mut Option<Commit>) -> Committed {
    match commit {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}
