//! Read model follower: keeps the read models up to date from the log, or from Kafka if it is configured.
//!
//! The read models of a context are one group, which follows the log on its own. This module finds out how far the log
//! goes and starts rebuilds and repairs; `group` reads and projects the events.

mod event_pages;
mod group;
mod kafka_follower;
mod key_repair;
mod progress_board;
mod rebuild_queue;

pub use rebuild_queue::rebuild_models;
pub use replay::rebuild::RebuildSummary;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use commands::scribe::LaneId;
use event_log::StoreFeed;
use platform::connectivity::Connectivity;
use platform::health::Health;
use projections::kernel::{Model, Models};
use projections::ports::{Fault, History};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::RowNotices;
use crate::store::{PgRows, identity};
use event_pages::EventPages;
use group::{Group, Target};
use key_repair::KeyRepair;
use progress_board::ProgressBoard;
use rebuild_queue::RebuildQueue;

/// Interval at which the log is polled. A write by this process itself is noticed at once.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Interval of the check for a log that was restored to an earlier moment.
const HISTORY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
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
    progress: Arc<watch::Sender<u64>>,
    /// Broadcast of the changed rows.
    notices: RowNotices,
}

/// The groups of this process while it follows the log. They end when this value is dropped.
struct Groups {
    pages: EventPages,
    target: watch::Sender<Target>,
    board: ProgressBoard,
    _tasks: JoinSet<()>,
}

impl ReadModelFollower {
    pub fn new(
        pool: PgPool,
        models: Arc<Models>,
        feed: StoreFeed,
        lanes: watch::Receiver<BTreeSet<LaneId>>,
        written: watch::Receiver<u64>,
    ) -> Self {
        let (health, connectivity) = (Health::default(), Connectivity::default());
        let (progress, notices) = (Arc::new(watch::Sender::new(0)), RowNotices::default());
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

    /// Creates the tables of new models on a short log, so that they can be queried from the start.
    pub async fn prepare(&self) -> Result<(), Fault> {
        PgRows::new(self.pool.clone()).prepare(self.models.iter()).await.map(|_| ())
    }

    /// Runs until `stop`. Models that are new on a long log, or whose shape has changed, are built in the background.
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
        let mut missing = self.find_missing().await?;
        rebuilds.enqueue(missing.iter().cloned().chain(self.find_diverged().await?));
        let mut kafka_feed = self.open_kafka_feed();
        let groups = self.start_groups();
        let mut tables = identity(&self.pool, &self.models).await?;
        let mut checked_at = Instant::now();
        loop {
            match &mut kafka_feed {
                Some(feed) => self.receive(feed, &groups).await?,
                None => self.read_heads(&groups).await?,
            }
            repair.advance(&self.assigned_lanes()).await;
            rebuilds.advance().await;
            if checked_at.elapsed() > HISTORY_CHECK_INTERVAL {
                rebuilds.enqueue(self.find_diverged().await?);
                if !missing.is_empty() {
                    missing = self.find_missing().await?;
                    rebuilds.enqueue(missing.iter().cloned());
                }
                let now = identity(&self.pool, &self.models).await?;
                if now != tables {
                    tables = now;
                    groups.reopen();
                }
                checked_at = Instant::now();
            }
            self.health.report_recovery(COMPONENT);
            self.report_problems(&groups.board);
            if kafka_feed.is_none() {
                tokio::select! {
                    _ = self.written.changed() => {}
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
            }
        }
    }

    /// Starts the groups. Each follows the log as soon as it has a target.
    fn start_groups(&self) -> Groups {
        let (pages, board, mut tasks) = (EventPages::new(self.feed.clone()), ProgressBoard::default(), JoinSet::new());
        let target = watch::Sender::new(Target::default());
        for (name, models) in self.models.groups() {
            let group = Group {
                name: name.to_owned(),
                models: models.into_iter().cloned().collect(),
                pool: self.pool.clone(),
                feed: self.feed.clone(),
                pages: pages.clone(),
                target: target.subscribe(),
                board: board.clone(),
                progress: self.progress.clone(),
                notices: self.notices.clone(),
            };
            tasks.spawn(group.run());
        }
        Groups { pages, target, board, _tasks: tasks }
    }

    /// Gives the groups the ends of the assigned lanes as their target.
    async fn read_heads(&mut self, groups: &Groups) -> Result<(), Fault> {
        self.written.mark_unchanged();
        let (lanes, heads) = (self.assigned_lanes(), self.feed.heads().await?);
        let heads = heads.into_iter().filter(|head| lanes.contains(&LaneId(head.lane)));
        groups.set_heads(heads.map(|head| (head.lane, head.position)).collect());
        self.report_lag(groups.board.lag(&groups.target.borrow().heads));
        Ok(())
    }

    fn assigned_lanes(&self) -> BTreeSet<LaneId> {
        self.lanes.borrow().clone()
    }

    /// Models that must be built: they are new on a long log, or the live table has another shape than the code expects.
    async fn find_missing(&self) -> Result<Vec<Model>, Fault> {
        let rows = PgRows::new(self.pool.clone());
        Ok(rows.prepare(self.models.iter()).await?.into_iter().cloned().collect())
    }

    /// Models whose checkpoint names an event that the log no longer contains, because the log was restored to an
    /// earlier moment. The projector detects this as well, but only when the log has grown beyond the checkpoint.
    async fn find_diverged(&self) -> anyhow::Result<Vec<Model>> {
        let text = "SELECT DISTINCT c.model FROM reads.checkpoints c
                    JOIN unnest($1::text[], $2::text[]) AS own(model, shape) USING (model, shape)
                    WHERE c.position > 0 AND c.epoch IS DISTINCT FROM (
                        SELECT e.epoch FROM log.epochs e WHERE e.lane = c.lane AND e.first_position <= c.position
                        ORDER BY e.since DESC LIMIT 1)";
        let own = self.models.shapes();
        let names: Vec<String> = sqlx::query_scalar(text).bind(own.0).bind(own.1).fetch_all(&self.pool).await?;
        Ok(names.iter().filter_map(|name| self.models.get(name).cloned()).collect())
    }

    /// Reports how many events the read models are behind the ends of their lanes.
    fn report_lag(&self, lag: i64) {
        metrics::gauge!("cartulary_read_models_lag_events").set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
        match lag > LAG_EVENTS_MOST {
            true => self.health.report_outage(LAG_COMPONENT, format!("{lag} events behind the end of the log")),
            false => self.health.report_recovery(LAG_COMPONENT),
        }
    }

    /// Reports the groups and models that do not advance.
    fn report_problems(&self, board: &ProgressBoard) {
        let problems = board.problems();
        let count = u32::try_from(problems.len()).unwrap_or(u32::MAX);
        metrics::gauge!("cartulary_read_models_stopped").set(count);
        self.health.set_degradation(COMPONENT, Some(problems.join("; ")).filter(|_| !problems.is_empty()));
    }
}

impl Groups {
    fn set_heads(&self, heads: BTreeMap<i16, i64>) {
        self.target.send_if_modified(|target| {
            let is_new = target.heads != heads;
            target.heads = heads;
            is_new
        });
    }

    /// Has the groups read the stored checkpoints again.
    fn reopen(&self) {
        self.target.send_modify(|target| target.generation += 1);
    }
}
