//! Read model follower: keeps the read models up to date from the log, or from Kafka if it is configured.

mod isolation;
mod kafka_follower;
mod key_repair;
mod rebuild_queue;

pub use rebuild_queue::rebuild_model;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use commands::scribe::LaneId;
use event_log::StoreFeed;
use platform::connectivity::Connectivity;
use platform::health::Health;
use projections::kernel::{Model, Models};
use projections::ports::{Checkpoint, Fault, History, RawEvent};
use projections::projector::{BatchOutcome, ProjectionErrorKind, Projector};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::RowNotices;
use crate::store::PgRows;
use isolation::IsolatedModels;
use key_repair::KeyRepair;
use rebuild_queue::RebuildQueue;

/// Events of one projector batch, all lanes together.
const BATCH_EVENTS: usize = 2_000;
/// Interval at which the log is polled. A write by this process itself is noticed at once.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Interval of the check for a log that was restored to an earlier moment.
const HISTORY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which catching up is interrupted for rebuilds and the history check.
const CATCH_UP_SLICE: Duration = Duration::from_secs(1);
/// Delay before following is retried after an error.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Lag in events above which the process reports itself as not ready.
const LAG_EVENTS_MOST: i64 = 100_000;
/// Name of the follower in the health report.
const COMPONENT: &str = "read models";
/// Name of its lag in the health report.
const LAG_COMPONENT: &str = "read model lag";

/// Follower that applies new events of the log to all read models.
pub struct ReadModelFollower {
    pool: PgPool,
    models: Arc<Models>,
    feed: StoreFeed,
    /// Lanes assigned to this process. Not used with Kafka, where the consumer group assigns them.
    lanes: watch::Receiver<BTreeSet<LaneId>>,
    /// Kafka as the source of events; `None`: the log.
    kafka: Option<kafka::Settings>,
    health: Health,
    connectivity: Connectivity,
    /// Changes when this process has written to the log.
    written: watch::Receiver<u64>,
    /// Counts the projected batches.
    progress: watch::Sender<u64>,
    /// Broadcast of the changed rows.
    notices: RowNotices,
}

/// Result of projecting one batch.
#[derive(Default)]
struct BatchResult {
    /// Models whose checkpoint belongs to a lost history, so that they must be rebuilt.
    diverged: Vec<Model>,
    /// Lanes in which events are missing before the batch.
    gaps: BTreeSet<LaneId>,
    /// True if at least one model advanced.
    advanced: bool,
}

type PgProjector = Projector<PgRows, StoreFeed>;

impl ReadModelFollower {
    pub fn new(
        pool: PgPool,
        models: Arc<Models>,
        feed: StoreFeed,
        lanes: watch::Receiver<BTreeSet<LaneId>>,
        written: watch::Receiver<u64>,
    ) -> Self {
        let (health, connectivity) = (Health::default(), Connectivity::default());
        let (progress, notices) = (watch::Sender::new(0), RowNotices::default());
        Self { pool, models, feed, lanes, kafka: None, health, connectivity, written, progress, notices }
    }

    /// Follows Kafka instead of the log, if it is configured.
    pub fn with_kafka(self, kafka: Option<kafka::Settings>) -> Self {
        Self { kafka, ..self }
    }

    /// Reports problems to this health report.
    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// Abandons its connections and starts following again when this monitor finds the database lost.
    pub fn with_connectivity(self, connectivity: Connectivity) -> Self {
        Self { connectivity, ..self }
    }

    /// Changes after every projected batch.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Notices of the rows that this process changes.
    pub fn row_notices(&self) -> RowNotices {
        self.notices.clone()
    }

    /// Creates the tables of new models, so that every model can be queried from the start.
    pub async fn prepare(&self) -> Result<(), Fault> {
        PgRows::new(self.pool.clone()).prepare(self.models.iter()).await.map(|_| ())
    }

    /// Runs until `stop`. Models whose shape has changed are rebuilt in the background.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let connectivity = self.connectivity.clone();
            let followed = tokio::select! {
                () = stop.cancelled() => break,
                followed = self.follow() => followed,
                () = connectivity.until_lost() => Err(anyhow!("the database does not answer")),
            };
            if let Err(error) = followed {
                self.health.report_outage(COMPONENT, format!("{error:#}"));
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Follows the log or Kafka until an error occurs.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut rebuilds = RebuildQueue::new(self.pool.clone(), self.notices.clone(), self.health.clone());
        let mut repair =
            KeyRepair::new(self.pool.clone(), self.models.clone(), self.notices.clone(), self.health.clone());
        let mut isolated = IsolatedModels::default();
        let mut outdated = self.find_outdated().await?;
        rebuilds.enqueue(outdated.iter().cloned().chain(self.find_diverged().await?));
        let mut kafka_feed = self.open_kafka_feed();
        let mut projector = self.open_projector().await?;
        let mut checked_at = Instant::now();
        loop {
            rebuilds.enqueue(match &mut kafka_feed {
                Some(feed) => self.follow_kafka(feed, &mut projector).await?,
                None => self.catch_up(&mut projector, &self.assigned_lanes()).await?,
            });
            rebuilds.enqueue(isolated.retry(self, &mut projector).await?);
            repair.advance(&self.assigned_lanes()).await;
            let mut switched = rebuilds.advance().await;
            if checked_at.elapsed() > HISTORY_CHECK_INTERVAL {
                rebuilds.enqueue(self.find_diverged().await?);
                if !outdated.is_empty() {
                    let before = outdated.len();
                    outdated = self.find_outdated().await?;
                    rebuilds.enqueue(outdated.iter().cloned());
                    // Another process may have rebuilt some of them.
                    switched |= outdated.len() < before;
                }
                checked_at = Instant::now();
            }
            if switched {
                projector = self.open_projector().await?;
                continue;
            }
            self.health.report_recovery(COMPONENT);
            self.report_stopped(&projector);
            if kafka_feed.is_none() {
                tokio::select! {
                    _ = self.written.changed() => {}
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
            }
        }
    }

    fn assigned_lanes(&self) -> BTreeSet<LaneId> {
        self.lanes.borrow().clone()
    }

    /// Models whose live table has another shape than the code expects.
    async fn find_outdated(&self) -> Result<Vec<Model>, Fault> {
        let rows = PgRows::new(self.pool.clone());
        Ok(rows.prepare(self.models.iter()).await?.into_iter().cloned().collect())
    }

    /// Models whose checkpoint names an event that the log no longer contains, because the log was restored to an
    /// earlier moment. The projector detects this as well, but only when the log has grown beyond the checkpoint.
    async fn find_diverged(&self) -> anyhow::Result<Vec<Model>> {
        let text = "SELECT DISTINCT c.model FROM reads.checkpoints c JOIN reads.live v USING (model, shape)
                    WHERE c.position > 0 AND c.epoch IS DISTINCT FROM (
                        SELECT e.epoch FROM log.epochs e WHERE e.lane = c.lane AND e.first_position <= c.position
                        ORDER BY e.since DESC LIMIT 1)";
        let names: Vec<String> = sqlx::query_scalar(text).fetch_all(&self.pool).await?;
        Ok(names.iter().filter_map(|name| self.models.get(name).cloned()).collect())
    }

    async fn open_projector(&self) -> Result<PgProjector, Fault> {
        Projector::open(PgRows::new(self.pool.clone()), self.feed.clone(), self.models.iter().cloned()).await
    }

    /// Projects the events of these lanes up to the end of the log, for at most [`CATCH_UP_SLICE`]. Returns the models
    /// whose checkpoint belongs to a lost history.
    async fn catch_up(&mut self, projector: &mut PgProjector, lanes: &BTreeSet<LaneId>) -> anyhow::Result<Vec<Model>> {
        let begun = Instant::now();
        loop {
            // The read below finds everything written up to now; a later write wakes the caller again.
            self.written.mark_unchanged();
            if begun.elapsed() > CATCH_UP_SLICE {
                // Events are left, so the caller must continue without waiting.
                self.written.mark_changed();
                return Ok(vec![]);
            }
            let events = self.read_batch(projector, lanes).await?;
            if events.is_empty() {
                return Ok(vec![]);
            }
            let BatchResult { diverged, advanced, .. } = self.project(projector, &events).await?;
            // If no model advanced, each of them has an error, and an immediate retry would not help.
            if !diverged.is_empty() || !advanced {
                return Ok(diverged);
            }
        }
    }

    /// Projects these events and publishes the changed rows.
    async fn project(&self, projector: &mut PgProjector, events: &[RawEvent]) -> Result<BatchResult, Fault> {
        let outcome = projector.apply(events).await?;
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
        let result = self.report(&outcome);
        self.notices.publish_batch(events, outcome.changed);
        Ok(result)
    }

    /// Reads the next events of these lanes, in order within each lane.
    async fn read_batch(&self, projector: &PgProjector, lanes: &BTreeSet<LaneId>) -> Result<Vec<RawEvent>, Fault> {
        let mut heads = self.feed.heads().await?;
        heads.retain(|head| lanes.contains(&LaneId(head.lane)));
        self.report_lag(heads.iter().filter_map(|head| Some(head.position - projector.after(head.lane)?)).sum());
        let lagging: Vec<(i16, i64)> = heads.iter().filter_map(|head| read_position(projector, head)).collect();
        let events_per_lane = BATCH_EVENTS.div_ceil(lagging.len().max(1));
        let read = lagging.into_iter().map(|(lane, after)| self.feed.events(lane, after, events_per_lane));
        Ok(futures::future::try_join_all(read).await?.into_iter().flatten().collect())
    }

    /// Reports how many events the read models are behind the ends of their lanes.
    fn report_lag(&self, lag: i64) {
        metrics::gauge!("cartulary_read_models_lag_events").set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
        match lag > LAG_EVENTS_MOST {
            true => self.health.report_outage(LAG_COMPONENT, format!("{lag} events behind the end of the log")),
            false => self.health.report_recovery(LAG_COMPONENT),
        }
    }

    /// Reports the models that are stopped in a lane, or isolated because they fail.
    fn report_stopped(&self, projector: &PgProjector) {
        let (stopped, isolated) = (projector.stopped().count(), projector.isolated().count());
        let count = u32::try_from(stopped.saturating_add(isolated)).unwrap_or(u32::MAX);
        metrics::gauge!("cartulary_read_models_stopped").set(count);
        let lane = |(model, lane): (&Model, i16)| {
            format!("{} has folded a lost history of lane {lane} and waits for its rebuild", model.name)
        };
        let fault = |(model, fault): (&Model, &str)| format!("{} does not advance: {fault}", model.name);
        let problems: Vec<_> = projector.stopped().map(lane).chain(projector.isolated().map(fault)).collect();
        self.health.set_degradation(COMPONENT, Some(problems.join("; ")).filter(|_| !problems.is_empty()));
    }

    /// Logs the parked events and errors of a batch and returns its result.
    fn report(&self, outcome: &BatchOutcome) -> BatchResult {
        for (model, parked) in &outcome.parked {
            metrics::counter!("cartulary_parked_total", "model" => model.clone()).increment(1);
            tracing::error!(
                model,
                lane = parked.lane,
                position = parked.position,
                reason = parked.reason,
                "an event was parked"
            );
        }
        for (model, parked) in &outcome.parked_streams {
            metrics::counter!("cartulary_parked_total", "model" => model.clone()).increment(1);
            tracing::error!(
                model,
                lane = parked.lane,
                position = parked.position,
                stream_type = &*parked.place.stream_type,
                stream = %parked.place.stream,
                reason = parked.reason,
                "an event cannot be decoded; a read model parks its stream"
            );
        }
        let mut result = BatchResult { advanced: !outcome.changed.is_empty(), ..BatchResult::default() };
        for error in &outcome.errors {
            tracing::warn!(model = error.model, error = %error.kind, "a read model did not advance");
            match error.kind {
                ProjectionErrorKind::OtherHistory { .. } => {
                    result.diverged.extend(self.models.get(&error.model).cloned())
                }
                ProjectionErrorKind::Gap { lane, .. } => _ = result.gaps.insert(LaneId(lane)),
                ProjectionErrorKind::Fault(_) => {}
            }
        }
        result
    }
}

/// The lane of this head, and the position after which it must be read; `None` if the projector has reached the head.
fn read_position(projector: &PgProjector, head: &Checkpoint) -> Option<(i16, i64)> {
    let after = projector.after(head.lane)?;
    (after < head.position).then_some((head.lane, after))
}
