//! Policy runner: follows the log or Kafka, lets policies react to the events, and runs the workers of timers and
//! effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use commands::kernel::Commands;
use commands::scribe::LaneId;
use platform::health::Health;
use scribe::forwarding::Dispatch;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use vault::Vault;

use crate::command_queue::CommandQueues;
use crate::dispatcher::Dispatcher;
use crate::effects::{EffectQueues, Targets};
use crate::lanes::{Lanes, POLL_INTERVAL};
use crate::log_reader::{NewEvents, SPAN, read_new_events};
use crate::parked_streams::{ParkedRetries, take_requests};
use crate::positions::Positions;
use crate::queue::{QueueWork, QueueWorker};
use crate::reactions::ReactionBatch;
use crate::restore::RestoreHook;
use crate::retention::{Retention, RetentionPeriods};
use crate::timer_table::{Timer, TimerChange};

/// Pause after a read that found events, so that under load one read covers many events.
const BATCH_DELAY: Duration = Duration::from_millis(40);

/// Runner of policies, timers and effects, with its dependencies.
#[derive(Clone)]
pub struct PolicyRunner {
    pub pool: PgPool,
    /// Takes the commands of policies, timers and effects.
    pub dispatch: Dispatch,
    pub lanes: Lanes,
    /// Kafka as the source of events; `None`: the log.
    pub kafka: Option<kafka::Settings>,
    /// Receives reports about Kafka and the consumer group.
    pub health: Health,
    pub vault: Arc<Vault>,
    pub commands: Arc<Commands>,
    /// The targets of effects.
    pub targets: Arc<Targets>,
    /// Components that are rewound with the policies after a restore of the log.
    pub restore_hooks: Vec<Arc<dyn RestoreHook>>,
    /// Ages at which data is dropped.
    pub retention: RetentionPeriods,
}

/// Result of one read of the log or of Kafka.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadResult {
    /// There was no new position.
    Nothing,
    /// The lanes were read to their ends.
    Events,
    /// The next read should follow at once: this one was full, or the positions had to be read again.
    More,
}

impl PolicyRunner {
    /// Runs policies, timers, effects and the retention of data until they are cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let commands = self.worker(CommandQueues { pool: self.pool.clone(), dispatcher: self.dispatcher() });
        let effects = self.worker(EffectQueues {
            pool: self.pool.clone(),
            commands: self.commands.clone(),
            targets: self.targets.clone(),
            dispatcher: self.dispatcher(),
        });
        let retention = Retention { pool: self.pool.clone(), periods: self.retention };
        futures::join!(
            self.run_policies(stop.clone()),
            commands.run(stop.clone()),
            effects.run(stop.clone()),
            retention.run(stop)
        );
    }

    fn worker<W: QueueWork>(&self, work: W) -> QueueWorker<W> {
        QueueWorker { pool: self.pool.clone(), lanes: self.lanes.clone(), written: None, work }
    }

    fn dispatcher(&self) -> Dispatcher {
        let (pool, dispatch) = (self.pool.clone(), self.dispatch.clone());
        Dispatcher { pool, dispatch, vault: self.vault.clone(), commands: self.commands.clone() }
    }

    async fn run_policies(&self, stop: CancellationToken) {
        let (mut written, mut kafka_feed) = (self.dispatch.written(), self.open_kafka_feed());
        let (mut positions, mut retries) = (Positions::default(), ParkedRetries::default());
        while !stop.is_cancelled() {
            let result = match &mut kafka_feed {
                Some(feed) => self.follow_kafka(feed, &mut positions).await,
                None => self.follow_log(&mut positions).await,
            };
            let result = match result {
                Ok(result) => self.retry_parked(&mut positions, &mut retries).await.map(|()| result),
                failed => failed,
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
            // With Kafka, `follow_kafka` waits for events itself.
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

    /// Reads the new events of all lanes of this process from the log and reacts to them.
    async fn follow_log(&self, positions: &mut Positions) -> anyhow::Result<ReadResult> {
        let lanes = self.lanes.current();
        // Until now, another process may have moved the positions of a lane that this process did not follow.
        if !positions.are_for(&lanes) {
            *positions = self.read_positions(lanes.clone()).await?;
        }
        self.read_and_react(&lanes, positions).await
    }

    pub(crate) async fn read_positions(&self, lanes: BTreeSet<LaneId>) -> Result<Positions, sqlx::Error> {
        Positions::read(&self.pool, self.commands.policies(), &self.restore_hooks, lanes).await
    }

    /// Names of the events that at least one policy subscribes to.
    pub(crate) fn subscribed_events(&self) -> Vec<&'static str> {
        self.commands.policies().iter().flat_map(|policy| policy.events).copied().collect()
    }

    /// Reads the new events of these lanes from the log and reacts to them.
    pub(crate) async fn read_and_react(
        &self,
        lanes: &BTreeSet<LaneId>,
        positions: &mut Positions,
    ) -> anyhow::Result<ReadResult> {
        if lanes.is_empty() {
            return Ok(ReadResult::Nothing);
        }
        match read_new_events(&self.pool, &self.lanes, positions, lanes, &self.subscribed_events()).await? {
            Some(by_lane) => self.react(&by_lane, positions).await,
            None => {
                *positions = self.read_positions(positions.followed_lanes()).await?;
                Ok(ReadResult::More)
            }
        }
    }

    /// Reacts to new events, sends the commands, and writes timers, effects and positions.
    pub(crate) async fn react(
        &self,
        by_lane: &BTreeMap<LaneId, NewEvents>,
        positions: &mut Positions,
    ) -> anyhow::Result<ReadResult> {
        let (mut batch, mut result) = (ReactionBatch::default(), ReadResult::Nothing);
        for (lane, new) in by_lane {
            let Some(from) = positions.after(*lane) else { continue };
            batch.extend(ReactionBatch::of(self.commands.policies(), *lane, new, positions));
            batch.progress.moves.extend(positions.moves(*lane, new.end));
            result = result.max(if new.end - from < SPAN { ReadResult::Events } else { ReadResult::More });
        }
        if result > ReadResult::Nothing {
            self.complete(batch, positions).await?;
        }
        Ok(result)
    }

    /// Sends the commands of a batch, then writes its timers, effects and positions.
    async fn complete(&self, batch: ReactionBatch, positions: &mut Positions) -> anyhow::Result<()> {
        let ReactionBatch { commands, mut progress } = batch;
        // A command that is not decided now is stored as a timer that is due: it must not hold up the policies of other
        // tenants and lanes. If its lane has another owner by now, that process fires it.
        let undecided = self.dispatcher().dispatch(commands).await?;
        progress
            .timers
            .extend(undecided.into_iter().map(|(command, _)| TimerChange::Set(Timer::of_undecided(command))));
        ensure!(progress.write(&self.pool).await?, "another process has moved the positions of the policies");
        positions.apply(&progress.moves, progress.parked);
        Ok(())
    }

    /// Lets policies try the events of parked streams again that are due, and reports the streams that stay parked.
    async fn retry_parked(&self, positions: &mut Positions, retries: &mut ParkedRetries) -> anyhow::Result<()> {
        if positions.parked().next().is_some() && retries.looks_for_requests() {
            let lanes = positions.followed_lanes();
            let requests = take_requests(&self.pool, self.commands.policies(), &lanes).await?;
            requests.into_iter().for_each(|stream| retries.retry_now(stream));
        }
        for (stream, at) in retries.due(positions.parked()) {
            let Some(policy) = self.commands.policies().iter().find(|policy| policy.id == stream.policy) else {
                continue;
            };
            let upto = positions.get(stream.lane, stream.policy);
            let batch = ReactionBatch::of_parked(&self.pool, policy, (&stream, &at), upto).await?;
            let to = batch.progress.parked.first().and_then(|change| change.to.as_ref());
            if to.is_some_and(|to| to.position == at.position) {
                retries.record_failure(&stream);
            } else {
                tracing::info!(policy = stream.policy, stream = %stream.stream, "a parked stream continues");
                self.complete(batch, positions).await?;
            }
        }
        self.report_parked(positions);
        Ok(())
    }

    /// Reports the parked streams. The process stays ready: everything else continues.
    fn report_parked(&self, positions: &Positions) {
        let count = u32::try_from(positions.parked().count()).unwrap_or(u32::MAX);
        metrics::gauge!("cartulary_policies_parked_streams").set(count);
        let problem = positions.parked().next().map(|(stream, at)| {
            format!(
                "{count} streams in which a policy cannot read an event; they are tried again. One is {} {} of tenant {}, \
                 for `{}`: lane {}, position {}: {}",
                stream.stream_type, stream.stream, stream.tenant, stream.policy, stream.lane.0, at.position, at.reason
            )
        });
        self.health.set_degradation("policies", problem);
    }
}
