//! Policy runner: follows the log, lets policies react to its events, and runs the workers of timers and effects beside
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use commands::kernel::Commands;
use commands::scribe::LaneId;
use domain::shared::Timestamp;
use platform::health::Health;
use scribe::forwarding::Dispatch;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use vault::Vault;

use crate::dispatcher::Dispatcher;
use crate::effects::{EffectWorker, Targets};
use crate::lanes::{Lanes, POLL_INTERVAL};
use crate::log_reader::{Delta, SPAN, read_deltas};
use crate::positions::Positions;
use crate::reactions::ReactionBatch;
use crate::restore::RestoreHook;
use crate::timers::TimerWorker;

/// Delay after a read with events, so that under load one read covers many events. The first event after a quiet moment
/// is read at once.
const BATCH_DELAY: Duration = Duration::from_millis(40);

/// The dependencies of policies, timers and effects.
#[derive(Clone)]
pub struct PolicyRunner {
    pub pool: PgPool,
    pub scribe: Dispatch,
    pub lanes: Lanes,
    /// Kafka as the source of events; without it they are read from the log.
    pub kafka: Option<kafka::Settings>,
    /// Receives the problems of Kafka and of the consumer group.
    pub health: Health,
    pub vault: Arc<Vault>,
    pub commands: Arc<Commands>,
    /// The targets of effects.
    pub targets: Arc<Targets>,
    /// Components that are rewound with the policies after a restore of the log.
    pub restore_hooks: Vec<Arc<dyn RestoreHook>>,
}

/// Result of one read of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadResult {
    Nothing,
    Events,
    /// There are more events than fit into one read.
    More,
}

impl PolicyRunner {
    /// Runs policies, timers and effects until they are cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let timers = TimerWorker { pool: self.pool.clone(), lanes: self.lanes.clone(), dispatcher: self.dispatcher() };
        let effects = EffectWorker {
            pool: self.pool.clone(),
            lanes: self.lanes.clone(),
            commands: self.commands.clone(),
            targets: self.targets.clone(),
            dispatcher: self.dispatcher(),
        };
        futures::join!(self.run_policies(stop.clone()), timers.run(stop.clone()), effects.run(stop));
    }

    fn dispatcher(&self) -> Dispatcher {
        let (pool, scribe) = (self.pool.clone(), self.scribe.clone());
        Dispatcher { pool, scribe, vault: self.vault.clone(), commands: self.commands.clone() }
    }

    async fn run_policies(&self, stop: CancellationToken) {
        let (mut written, mut kafka_feed) = (self.scribe.written(), self.open_kafka_feed());
        let mut positions = Positions::default();
        while !stop.is_cancelled() {
            let result = match &mut kafka_feed {
                Some(feed) => self.follow_kafka(feed, &mut positions).await,
                None => self.follow_log(&mut positions).await,
            };
            if let Err(error) = &result {
                tracing::warn!(%error, "policies cannot continue now; reading their positions again");
                positions = Positions::default();
            }
            match result {
                Ok(ReadResult::More) => continue,
                Ok(ReadResult::Events) => tokio::time::sleep(BATCH_DELAY).await,
                Ok(ReadResult::Nothing) | Err(_) => {}
            }
            // The Kafka feed has waited for events already.
            if kafka_feed.is_some() && result.is_ok() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = written.changed() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Reacts to the new events of all lanes of this process.
    async fn follow_log(&self, positions: &mut Positions) -> anyhow::Result<ReadResult> {
        // Another process has moved the positions of a lane that is new to this one.
        let lanes = self.lanes.now();
        if !positions.are_of(&lanes) {
            *positions = self.read_positions(lanes.clone()).await?;
        }
        self.react_in(&lanes, positions).await
    }

    pub(crate) async fn read_positions(&self, lanes: BTreeSet<LaneId>) -> Result<Positions, sqlx::Error> {
        Positions::read(&self.pool, self.commands.policies(), &self.restore_hooks, lanes).await
    }

    /// Names of the events that at least one policy subscribes to.
    pub(crate) fn subscribed_events(&self) -> Vec<&'static str> {
        self.commands.policies().iter().flat_map(|policy| policy.events).copied().collect()
    }

    /// Reacts to the new events of these lanes of the log.
    pub(crate) async fn react_in(
        &self,
        lanes: &BTreeSet<LaneId>,
        positions: &mut Positions,
    ) -> anyhow::Result<ReadResult> {
        if lanes.is_empty() {
            return Ok(ReadResult::Nothing);
        }
        match read_deltas(&self.pool, &self.lanes, positions, lanes, &self.subscribed_events()).await? {
            Some(deltas) => self.react_to(&deltas, positions).await,
            None => {
                *positions = self.read_positions(positions.followed_lanes()).await?;
                Ok(ReadResult::More)
            }
        }
    }

    /// Reacts to new events that were read already.
    pub(crate) async fn react_to(
        &self,
        deltas: &BTreeMap<LaneId, Delta>,
        positions: &mut Positions,
    ) -> anyhow::Result<ReadResult> {
        let (mut batch, mut result) = (ReactionBatch::default(), ReadResult::Nothing);
        for (lane, delta) in deltas {
            let Some(from) = positions.after(*lane) else { continue };
            match ReactionBatch::of(self.commands.policies(), *lane, delta, positions) {
                Ok(more) => {
                    batch.extend(more);
                    batch.progress.moves.extend(positions.moves(*lane, delta.upto));
                    result = result.max(if delta.upto - from < SPAN { ReadResult::Events } else { ReadResult::More });
                }
                // The lane stops until an operator repairs the event; no event is skipped, and other lanes continue.
                Err(error) => {
                    metrics::counter!("cartulary_policies_stopped_total").increment(1);
                    tracing::error!(lane = lane.0, %error, "policies stop at an event that they cannot read");
                }
            }
        }
        if result > ReadResult::Nothing {
            self.complete(batch, positions).await?;
        }
        Ok(result)
    }

    /// Sends the commands of a batch, then writes its timers, effects and positions.
    async fn complete(&self, batch: ReactionBatch, positions: &mut Positions) -> anyhow::Result<()> {
        let ReactionBatch { commands, mut progress } = batch;
        // A command for a lane of another process is stored as a timer that is due, which that process fires.
        let elsewhere = self.dispatcher().dispatch(commands).await?;
        progress.timers.extend(elsewhere.into_iter().map(|command| (Timestamp::default(), command)));
        ensure!(progress.write(&self.pool).await?, "another process has moved the positions of the policies");
        positions.apply(&progress.moves);
        Ok(())
    }
}
