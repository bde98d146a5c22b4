//! Keeps the read models of this process up to date: from the log itself, or from what Kafka carries of it (design 5).

mod rebuilding;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use commands::scribe::LaneId;
use projections::kernel::{Model, Models};
use projections::ports::{Checkpoint, Fault, History, RawEvent};
use projections::projector::{BatchOutcome, ProjectionErrorKind, Projector};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::Changes;
use crate::store::PgRows;
use event_log::StoreFeed;
use platform::connectivity::Reach;
use platform::health::Health;
use rebuilding::Rebuilding;
pub use rebuilding::build_anew;

/// Events taken from all lanes at a time.
const BATCH: usize = 2_000;
/// How long to wait before the log is looked at again, if this process wrote nothing meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to look whether the log was restored to an earlier moment.
const LOOK_FOR_LOST: Duration = Duration::from_secs(1);
/// How long to wait before what could not be done now is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Further behind than this, readers are told that what they see is old.
const BEHIND_MOST: i64 = 100_000;
/// What is said to be away.
const PART: &str = "read models";
const LAG: &str = "the end of the log";

/// Follows the log with all read models.
pub struct ReadSide {
    pool: PgPool,
    models: Arc<Models>,
    feed: StoreFeed,
    /// The lanes that this process follows, where no consumer group deals them out.
    lanes: watch::Receiver<BTreeSet<LaneId>>,
    /// Where events come from, if not from the log.
    kafka: Option<kafka::Settings>,
    health: Health,
    reach: Reach,
    /// Changes whenever this process wrote to the log.
    written: watch::Receiver<u64>,
    /// Changes whenever rows changed.
    progress: watch::Sender<u64>,
    /// Tells which rows changed.
    changes: Changes,
}

/// What became of a batch.
#[derive(Default)]
struct Took {
    /// The models that have followed a history that was lost.
    lost: Vec<Model>,
    /// The lanes of which something is missing on the way.
    holes: BTreeSet<LaneId>,
    /// Whether any model got further.
    moved: bool,
}

type PgProjector = Projector<PgRows, StoreFeed>;

impl ReadSide {
    pub fn new(
        pool: PgPool,
        models: Arc<Models>,
        feed: StoreFeed,
        lanes: watch::Receiver<BTreeSet<LaneId>>,
        written: watch::Receiver<u64>,
    ) -> Self {
        let (health, reach) = (Health::default(), Reach::default());
        let (progress, changes) = (watch::Sender::new(0), Changes::default());
        Self { pool, models, feed, lanes, kafka: None, health, reach, written, progress, changes }
    }

    /// Follows what Kafka carries instead of the log.
    pub fn through(self, kafka: Option<kafka::Settings>) -> Self {
        Self { kafka, ..self }
    }

    /// Says there what keeps it from its work.
    pub fn telling(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// Begins anew when the database was lost.
    pub fn while_in(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Changes whenever readers may see something new.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Where it is told which rows have changed.
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Makes the tables of models that were never kept before, so that every model can be asked from the start.
    pub async fn prepare(&self) -> Result<(), Fault> {
        PgRows::new(self.pool.clone()).prepare(self.models.iter()).await.map(|_| ())
    }

    /// Runs until it is cancelled. Models whose shape has changed are rebuilt beside the ones that are served.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let reach = self.reach.clone();
            let followed = tokio::select! {
                () = stop.cancelled() => break,
                followed = self.follow() => followed,
                () = reach.until_lost() => Err(anyhow!("the database does not answer")),
            };
            if let Err(error) = followed {
                self.health.away(PART, format!("{error:#}"));
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        let mut rebuilding = Rebuilding::new(self.pool.clone(), self.changes.clone(), self.health.clone());
        let mut outdated = self.outdated().await?;
        rebuilding.want(outdated.iter().cloned().chain(self.lost().await?));
        let mut wire = self.open_wire();
        let mut projector = self.open().await?;
        let mut looked = Instant::now();
        loop {
            rebuilding.want(match &mut wire {
                Some(wire) => self.take_from(wire, &mut projector).await?,
                None => self.catch_up(&mut projector, &self.share()).await?,
            });
            let mut switched = rebuilding.go_on().await;
            if looked.elapsed() > LOOK_FOR_LOST {
                rebuilding.want(self.lost().await?);
                if !outdated.is_empty() {
                    let before = outdated.len();
                    outdated = self.outdated().await?;
                    rebuilding.want(outdated.iter().cloned());
                    // Another process may have been faster.
                    switched |= outdated.len() < before;
                }
                looked = Instant::now();
            }
            if switched {
                projector = self.open().await?;
                continue;
            }
            self.health.back(PART);
            let stopped = projector.stopped().count();
            metrics::gauge!("cartulary_read_models_stopped").set(u32::try_from(stopped).unwrap_or(u32::MAX));
            if wire.is_none() {
                tokio::select! {
                    _ = self.written.changed() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }

    fn share(&self) -> BTreeSet<LaneId> {
        self.lanes.borrow().clone()
    }

    /// The models that are served in another shape than the code's. The others do not wait for them.
    async fn outdated(&self) -> Result<Vec<Model>, Fault> {
        let rows = PgRows::new(self.pool.clone());
        Ok(rows.prepare(self.models.iter()).await?.into_iter().cloned().collect())
    }

    /// The models that have taken events which the log, restored to an earlier moment, does not have any more. New
    /// events tell it too, but only where they reach beyond what was lost.
    async fn lost(&self) -> anyhow::Result<Vec<Model>> {
        let text = "SELECT DISTINCT c.model FROM reads.checkpoints c JOIN reads.live v USING (model, shape)
                    WHERE c.position > 0 AND c.epoch IS DISTINCT FROM (
                        SELECT e.epoch FROM log.epochs e WHERE e.lane = c.lane AND e.first_position <= c.position
                        ORDER BY e.since DESC LIMIT 1)";
        let names: Vec<String> = sqlx::query_scalar(text).fetch_all(&self.pool).await?;
        Ok(names.iter().filter_map(|name| self.models.get(name).cloned()).collect())
    }

    async fn open(&self) -> Result<PgProjector, Fault> {
        Projector::open(PgRows::new(self.pool.clone()), self.feed.clone(), self.models.iter().cloned()).await
    }

    /// Takes everything that is in these lanes of the log now, or as much of it as can be taken before it is time to look
    /// after other things. Names the models that have followed a history that was lost.
    async fn catch_up(&mut self, projector: &mut PgProjector, lanes: &BTreeSet<LaneId>) -> anyhow::Result<Vec<Model>> {
        let begun = Instant::now();
        loop {
            self.written.mark_unchanged();
            if begun.elapsed() > LOOK_FOR_LOST {
                self.written.mark_changed();
                return Ok(vec![]);
            }
            let events = self.read(projector, lanes).await?;
            if events.is_empty() {
                return Ok(vec![]);
            }
            let Took { lost, moved, .. } = self.take(projector, &events).await?;
            // Where nobody moved, every model has its trouble, and trying again at once would not help.
            if !lost.is_empty() || !moved {
                return Ok(lost);
            }
        }
    }

    /// Has these events folded, and tells whoever waits for that.
    async fn take(&self, projector: &mut PgProjector, events: &[RawEvent]) -> Result<Took, Fault> {
        let taken = projector.take(events).await?;
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
        let took = self.look_at(&taken);
        self.changes.tell(events, taken.changed);
        Ok(took)
    }

    /// The next events of these lanes, in order within each.
    async fn read(&self, projector: &PgProjector, lanes: &BTreeSet<LaneId>) -> Result<Vec<RawEvent>, Fault> {
        let mut heads = self.feed.heads().await?;
        heads.retain(|head| lanes.contains(&LaneId(head.lane)));
        self.tell_lag(heads.iter().filter_map(|head| Some(head.position - projector.after(head.lane)?)).sum());
        let behind: Vec<(i16, i64)> = heads.iter().filter_map(|head| behind(projector, head)).collect();
        let share = BATCH.div_ceil(behind.len().max(1));
        let read = behind.into_iter().map(|(lane, after)| self.feed.events(lane, after, share));
        Ok(futures::future::try_join_all(read).await?.into_iter().flatten().collect())
    }

    /// Tells how many events the read models are behind the ends of lanes.
    fn tell_lag(&self, lag: i64) {
        metrics::gauge!("cartulary_read_models_lag_events").set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
        match lag > BEHIND_MOST {
            true => self.health.away(LAG, format!("read models are {lag} events behind it")),
            false => self.health.back(LAG),
        }
    }

    fn look_at(&self, taken: &BatchOutcome) -> Took {
        for (model, parked) in &taken.parked {
            metrics::counter!("cartulary_parked_total", "model" => model.clone()).increment(1);
            tracing::error!(
                model,
                lane = parked.lane,
                position = parked.position,
                reason = parked.reason,
                "an event is parked"
            );
        }
        let mut took = Took { moved: !taken.changed.is_empty(), ..Took::default() };
        for trouble in &taken.errors {
            tracing::warn!(model = trouble.model, what = %trouble.kind, "a read model did not go on");
            match trouble.kind {
                ProjectionErrorKind::OtherHistory { .. } => took.lost.extend(self.models.get(&trouble.model).cloned()),
                ProjectionErrorKind::Gap { lane, .. } => _ = took.holes.insert(LaneId(lane)),
                ProjectionErrorKind::Unreadable { .. } | ProjectionErrorKind::Fault(_) => {}
            }
        }
        took
    }
}

/// From where on a lane must be read; nothing where everything was taken.
fn behind(projector: &PgProjector, head: &Checkpoint) -> Option<(i16, i64)> {
    let after = projector.after(head.lane)?;
    (after < head.position).then_some((head.lane, after))
}
