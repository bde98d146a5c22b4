//! Keeps the read models of this process up to date: from the log itself, or from what Kafka carries of it (design 5).

mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use commands::scribe::LaneId;
use projections::kernel::{Model, Models};
use projections::ports::{Checkpoint, Fault, History, RawEvent};
use projections::projector::{Projector, Taken, What};
use replay::rebuild::{Budget, Rebuilt, rebuild};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::feed::StoreFeed;
use crate::live::Changes;
use crate::postgres::{PgBuilds, PgHistory, PgRows};

/// Events taken from all lanes at a time.
const BATCH: usize = 2_000;
/// How long to wait before the log is looked at again, if this process wrote nothing meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to look whether the log was restored to an earlier moment.
const LOOK_FOR_LOST: Duration = Duration::from_secs(1);
/// How long to wait before what could not be done now is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Follows the log with all read models.
pub struct ReadSide {
    pool: PgPool,
    models: Arc<Models>,
    feed: StoreFeed,
    /// The lanes that this process follows, where no consumer group deals them out.
    lanes: watch::Receiver<BTreeSet<LaneId>>,
    /// Where events come from, if not from the log.
    kafka: Option<kafka::Settings>,
    /// Changes whenever this process wrote to the log.
    written: watch::Receiver<u64>,
    /// Changes whenever rows changed.
    progress: watch::Sender<u64>,
    /// Tells which rows changed.
    changes: Changes,
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
        Self {
            pool,
            models,
            feed,
            lanes,
            kafka: None,
            written,
            progress: watch::Sender::new(0),
            changes: Changes::default(),
        }
    }

    /// Follows what Kafka carries instead of the log.
    pub fn through(self, kafka: Option<kafka::Settings>) -> Self {
        Self { kafka, ..self }
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
            let followed = tokio::select! {
                () = stop.cancelled() => break,
                followed = self.follow() => followed,
            };
            if let Err(error) = followed {
                tracing::warn!(%error, "read models cannot go on now");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn follow(&mut self) -> anyhow::Result<()> {
        let rows = PgRows::new(self.pool.clone());
        let outdated: Vec<Model> = rows.prepare(self.models.iter()).await?.into_iter().cloned().collect();
        for model in &self.lost().await? {
            self.rebuild(model).await?;
        }
        let mut wire = self.open_wire().await?;
        let mut projector = self.open().await?;
        for model in &outdated {
            // The others must not wait for it; it joins them when it stands where they stand.
            self.catch_up(&mut projector, &self.share()).await?;
            self.rebuild(model).await?;
            projector = self.open().await?;
        }
        let mut looked = Instant::now();
        loop {
            let mut lost = match &mut wire {
                Some(wire) => self.take_from(wire, &mut projector).await?,
                None => self.catch_up(&mut projector, &self.share()).await?,
            };
            if looked.elapsed() > LOOK_FOR_LOST {
                lost.extend(self.lost().await?);
                looked = Instant::now();
            }
            for model in &lost {
                self.rebuild(model).await?;
            }
            if !lost.is_empty() {
                projector = self.open().await?;
                continue;
            }
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

    /// Takes everything that is in these lanes of the log now. Names the models that have followed a history that was
    /// lost.
    async fn catch_up(&mut self, projector: &mut PgProjector, lanes: &BTreeSet<LaneId>) -> anyhow::Result<Vec<Model>> {
        loop {
            self.written.mark_unchanged();
            let events = read(projector, &self.feed, lanes).await?;
            if events.is_empty() {
                return Ok(vec![]);
            }
            let taken = projector.take(&events).await?;
            self.progress.send_modify(|count| *count = count.wrapping_add(1));
            let lost = self.look_at(&taken);
            let moved = !taken.changed.is_empty();
            self.changes.tell(&events, taken.changed);
            if !lost.is_empty() {
                return Ok(lost);
            }
            if !moved {
                // Nobody moved: every model has its trouble, and trying again at once would not help.
                return Ok(vec![]);
            }
        }
    }

    fn look_at(&self, taken: &Taken) -> Vec<Model> {
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
        let mut lost = Vec::new();
        for trouble in &taken.troubles {
            tracing::warn!(model = trouble.model, what = %trouble.what, "a read model did not go on");
            if matches!(trouble.what, What::OtherHistory { .. }) {
                lost.extend(self.models.get(&trouble.model).cloned());
            }
        }
        lost
    }

    async fn rebuild(&self, model: &Model) -> anyhow::Result<()> {
        build_anew(&self.pool, model).await?;
        self.changes.tell_rebuilt(&model.name);
        Ok(())
    }
}

/// Rebuilds a read model beside the one that is served, and switches. Two builds of one table would spoil each other:
/// whoever comes second is sent away.
pub async fn build_anew(pool: &PgPool, model: &Model) -> anyhow::Result<Rebuilt> {
    let mut turn = pool.begin().await?;
    let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('rebuild ' || $1, 0))")
        .bind(&model.name)
        .fetch_one(&mut *turn)
        .await?;
    anyhow::ensure!(ours, "another process is rebuilding {}", model.name);
    tracing::info!(model = model.name, "rebuilding a read model");
    let (history, builds) = (PgHistory::new(pool.clone()), PgBuilds::new(pool.clone()));
    let built = rebuild(model, &history, &builds, Budget::default()).await?;
    turn.commit().await?;
    Ok(built)
}

/// The next events of these lanes, in order within each.
async fn read(projector: &PgProjector, feed: &StoreFeed, lanes: &BTreeSet<LaneId>) -> Result<Vec<RawEvent>, Fault> {
    let mut heads = feed.heads().await?;
    heads.retain(|head| lanes.contains(&LaneId(head.lane)));
    let lag: i64 = heads.iter().filter_map(|head| Some(head.position - projector.after(head.lane)?)).sum();
    metrics::gauge!("cartulary_read_models_lag_events").set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
    let behind: Vec<(i16, i64)> = heads.iter().filter_map(|head| behind(projector, head)).collect();
    let share = BATCH.div_ceil(behind.len().max(1));
    let read = behind.into_iter().map(|(lane, after)| feed.events(lane, after, share));
    Ok(futures::future::try_join_all(read).await?.into_iter().flatten().collect())
}

/// From where on a lane must be read; nothing where everything was taken.
fn behind(projector: &PgProjector, head: &Checkpoint) -> Option<(i16, i64)> {
    let after = projector.after(head.lane)?;
    (after < head.position).then_some((head.lane, after))
}
