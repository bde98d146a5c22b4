//! Listens for what changed, from this process and from others, and looks whether something was missed.

use std::collections::HashMap;
use std::time::Duration;

use api::port::Freshness;
use projections::kernel::Change;
use projections::ports::{Cause, Checkpoint, Fault};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::missed::{Missed, missed};
use super::watchers::{Course, Fit};
use super::wire::Wire;
use super::{Batch, Live, News};
use platform::connectivity::answered;

/// How often the checkpoints are looked at where news come by themselves: they may have got lost.
const LOOK_AFTER_NEWS: Duration = Duration::from_secs(1);
/// How often where none come.
const LOOK_FOR_NEWS: Duration = Duration::from_millis(100);
/// How long it may take to find out what was missed, before that is tried anew.
const MISSED_WITHIN: Duration = Duration::from_secs(20);

impl Live {
    /// Runs until it is cancelled. While nobody watches, it costs nothing.
    pub async fn run(self, stop: CancellationToken) {
        let mut anybody = self.watchers.anybody.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                waited = anybody.wait_for(|anybody| *anybody) => if waited.is_err() { return },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.follow() => {}
            }
        }
    }

    /// Follows until nobody watches any more.
    async fn follow(&self) {
        let mut heard = self.changes.subscribe();
        let mut wire = Wire::open(self.redis.clone()).await;
        self.watchers.listens();
        let mut looked = HashMap::new();
        let mut next_look = Instant::now() + LOOK_FOR_NEWS;
        while !self.watchers.rests() {
            tokio::select! {
                news = heard.recv() => match news {
                    Ok(news) => self.take(&news).await,
                    // What was missed is found at the next look.
                    Err(RecvError::Lagged(batches)) => tracing::debug!(batches, "too many changes to follow"),
                    Err(RecvError::Closed) => return,
                },
                news = wire.next() => self.take(&news).await,
                () = sleep_until(next_look) => {
                    self.watchers.send_slow_away();
                    self.look(&mut looked).await;
                    let fed = self.alone || wire.is_open();
                    next_look = Instant::now() + if fed { LOOK_AFTER_NEWS } else { LOOK_FOR_NEWS };
                }
            }
        }
    }

    async fn take(&self, news: &News) {
        match news {
            News::Taken(batch) => self.take_batch(batch).await,
            News::Rebuilt { model } => self.watchers.start_over(model, None),
        }
    }

    async fn take_batch(&self, batch: &Batch) {
        for changed in &batch.changed {
            let mut lanes = HashMap::new();
            let mut reached = Vec::new();
            for (from, to) in &changed.moves {
                let course = (changed.model.clone(), to.lane);
                match self.watchers.fit(&course, *from, *to) {
                    Fit::Old => {}
                    Fit::Next => {
                        lanes.insert(to.lane, to.position);
                        reached.push((course, *to));
                    }
                    Fit::Gap => self.find_missed(&course).await,
                }
            }
            let told = changed.rows.iter().filter_map(|row| Some((row, *batch.tenants.get(&row.place.tenant)?)));
            self.tell(&changed.model, told, &lanes);
            for (course, to) in reached {
                self.watchers.stands_at(&course, to);
            }
        }
    }

    fn tell<'c>(&self, model: &str, changes: impl Iterator<Item = (&'c Change, Freshness)>, lanes: &HashMap<i16, i64>) {
        if !lanes.is_empty() {
            let told: Vec<_> = changes.flat_map(|(change, at)| self.watchers.tell(model, change, lanes, at)).collect();
            // Not before all of it is told may anybody be told that it is.
            told.iter().for_each(|mailbox| mailbox.settle());
        }
    }

    /// Looks at the checkpoints. What is still not told at the second look was missed.
    async fn look(&self, looked: &mut HashMap<Course, Checkpoint>) {
        let standings = self.watchers.standings();
        match self.checkpoints(&standings).await {
            Ok(found) => {
                for (course, told) in &standings {
                    let before = looked.get(course).is_some_and(|before| before.position > told.position);
                    let back = found.get(course).is_some_and(|now| now.position < told.position);
                    if before || back {
                        self.find_missed(course).await;
                    }
                }
                *looked = found;
            }
            Err(fault) => tracing::debug!(%fault, "what subscriptions are told may be late"),
        }
    }

    async fn checkpoints(&self, standings: &[(Course, Checkpoint)]) -> Result<HashMap<Course, Checkpoint>, Fault> {
        let models = standings.iter().filter_map(|((model, _), _)| self.models.get(model));
        let (mut names, mut shapes): (Vec<&str>, Vec<&str>) =
            models.map(|model| (model.name.as_str(), model.shape.as_str())).unzip();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        names.dedup();
        shapes.dedup();
        let text = "SELECT model, lane, position, epoch FROM reads.checkpoints
                    WHERE model = ANY($1) AND shape = ANY($2)";
        let asked = sqlx::query_as(text).bind(&names).bind(&shapes).fetch_all(&self.pool);
        let found: Vec<(String, i16, i64, i64)> =
            answered(asked).await.map_err(|error| Fault::caused(Cause::Unavailable, "reading checkpoints", error))?;
        let at = |(model, lane, position, epoch)| ((model, lane), Checkpoint { lane, position, epoch });
        Ok(found.into_iter().map(at).collect())
    }

    /// Finds out what became of the watched rows of a read model in one lane, and tells it.
    async fn find_missed(&self, course: &Course) {
        let (name, lane) = course;
        let standing = self.watchers.standings().into_iter().find(|(known, _)| known == course);
        let (Some(model), Some((_, told))) = (self.models.get(name), standing) else { return };
        metrics::counter!("cartulary_live_looked_up_total").increment(1);
        let silent = |_| Err(Fault::new(Cause::Unavailable, "the database does not answer"));
        let missed = timeout(MISSED_WITHIN, missed(&self.pool, model, told, &self.watchers)).await;
        match missed.unwrap_or_else(silent) {
            Ok(Missed::Nothing) => {}
            Ok(Missed::Changes(at, changes)) => {
                let lanes = HashMap::from([(*lane, at.position)]);
                self.tell(name, changes.iter().map(|(change, at)| (change, *at)), &lanes);
                self.watchers.stands_at(course, at);
            }
            Ok(Missed::Everything) => self.watchers.start_over(name, Some(*lane)),
            Err(fault) => tracing::warn!(%fault, "what subscriptions are told may be late"),
        }
    }
}
