//! Notice dispatcher: passes row notices of this and other processes to the subscriptions, and recovers from gaps.

use std::collections::HashMap;
use std::time::Duration;

use api::port::Freshness;
use platform::connectivity::within_statement_timeout;
use projections::kernel::Change;
use projections::ports::{Cause, Checkpoint, Fault};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::gap_recovery::{Recovery, recover};
use super::notice_channel::NoticeReceiver;
use super::registry::{Continuity, ModelLane};
use super::row_notices::{ChangeBatch, RowNotice};
use super::subscriptions::Subscriptions;

/// Interval of the checkpoint check while notices are received: some may have been lost.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the checkpoint check while no notices are received.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time limit of one recovery, after which it is tried again.
const RECOVERED_WITHIN: Duration = Duration::from_secs(20);

impl Subscriptions {
    /// Dispatches row notices until `stop`. Idle while there are no subscriptions.
    pub async fn run(self, stop: CancellationToken) {
        let mut in_use = self.registry.in_use.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                waited = in_use.wait_for(|in_use| *in_use) => if waited.is_err() { return },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.dispatch_until_idle() => {}
            }
        }
    }

    async fn dispatch_until_idle(&self) {
        let mut local = self.notices.subscribe();
        let mut remote = NoticeReceiver::open(self.redis.clone()).await;
        self.registry.set_receiving();
        let mut seen = HashMap::new();
        let mut next_check = Instant::now() + POLL_INTERVAL;
        while !self.registry.stop_if_idle() {
            tokio::select! {
                notice = local.recv() => match notice {
                    Ok(notice) => self.dispatch(&notice).await,
                    // The next checkpoint check finds the missed changes.
                    Err(RecvError::Lagged(notices)) => tracing::debug!(notices, "missed row notices"),
                    Err(RecvError::Closed) => return,
                },
                notice = remote.next() => self.dispatch(&notice).await,
                () = sleep_until(next_check) => {
                    self.registry.disconnect_slow();
                    self.check_progress(&mut seen).await;
                    let notified = self.projects_all || remote.is_connected();
                    next_check = Instant::now() + if notified { CHECK_INTERVAL } else { POLL_INTERVAL };
                }
            }
        }
    }

    async fn dispatch(&self, notice: &RowNotice) {
        match notice {
            RowNotice::Batch(batch) => self.dispatch_batch(batch).await,
            RowNotice::Rebuilt { model } => self.registry.start_over(model, None),
        }
    }

    async fn dispatch_batch(&self, batch: &ChangeBatch) {
        for changed in &batch.changed {
            let mut lanes = HashMap::new();
            let mut reached = Vec::new();
            for (from, to) in &changed.moves {
                let model_lane = (changed.model.clone(), to.lane);
                match self.registry.continuity(&model_lane, *from, *to) {
                    Continuity::Old => {}
                    Continuity::Next => {
                        lanes.insert(to.lane, to.position);
                        reached.push((model_lane, *to));
                    }
                    Continuity::Gap => self.recover(&model_lane).await,
                }
            }
            let changes = changed.rows.iter().filter_map(|row| Some((row, *batch.tenants.get(&row.place.tenant)?)));
            self.deliver(&changed.model, changes, &lanes);
            for (model_lane, to) in reached {
                self.registry.set_delivered(&model_lane, to);
            }
        }
    }

    fn deliver<'c>(
        &self,
        model: &str,
        changes: impl Iterator<Item = (&'c Change, Freshness)>,
        lanes: &HashMap<i16, i64>,
    ) {
        if !lanes.is_empty() {
            let queues: Vec<_> =
                changes.flat_map(|(change, at)| self.registry.deliver(model, change, lanes, at)).collect();
            // Only after the last row may an update carry the position of the batch.
            queues.iter().for_each(|queue| queue.finish_batch());
        }
    }

    /// Compares the stored checkpoints with the delivered ones. A lane recovers if it was already behind at the previous
    /// check, or if its checkpoint has moved back.
    async fn check_progress(&self, seen: &mut HashMap<ModelLane, Checkpoint>) {
        let delivered = self.registry.delivered();
        match self.checkpoints(&delivered).await {
            Ok(current) => {
                for (model_lane, delivered) in &delivered {
                    let late = seen.get(model_lane).is_some_and(|seen| seen.position > delivered.position);
                    let moved_back = current.get(model_lane).is_some_and(|now| now.position < delivered.position);
                    if late || moved_back {
                        self.recover(model_lane).await;
                    }
                }
                *seen = current;
            }
            Err(fault) => tracing::debug!(%fault, "cannot check for missed row notices; updates may be late"),
        }
    }

    async fn checkpoints(
        &self,
        delivered: &[(ModelLane, Checkpoint)],
    ) -> Result<HashMap<ModelLane, Checkpoint>, Fault> {
        let models = delivered.iter().filter_map(|((model, _), _)| self.models.get(model));
        let (mut names, mut shapes): (Vec<&str>, Vec<&str>) =
            models.map(|model| (model.name.as_str(), model.shape.as_str())).unzip();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        names.dedup();
        shapes.dedup();
        let text = "SELECT model, lane, position, epoch FROM reads.checkpoints
                    WHERE model = ANY($1) AND shape = ANY($2)";
        let query = sqlx::query_as(text).bind(&names).bind(&shapes).fetch_all(&self.pool);
        let rows: Vec<(String, i16, i64, i64)> = within_statement_timeout(query)
            .await
            .map_err(|error| Fault::caused(Cause::Unavailable, "reading checkpoints", error))?;
        let at = |(model, lane, position, epoch)| ((model, lane), Checkpoint { lane, position, epoch });
        Ok(rows.into_iter().map(at).collect())
    }

    /// Finds the missed changes of a read model in one lane and delivers them.
    async fn recover(&self, model_lane: &ModelLane) {
        let (name, lane) = model_lane;
        let progress = self.registry.delivered().into_iter().find(|(known, _)| known == model_lane);
        let (Some(model), Some((_, delivered))) = (self.models.get(name), progress) else { return };
        metrics::counter!("cartulary_live_looked_up_total").increment(1);
        let timed_out = |_| Err(Fault::new(Cause::Unavailable, "the database does not answer"));
        let recovery = timeout(RECOVERED_WITHIN, recover(&self.pool, model, delivered, &self.registry)).await;
        match recovery.unwrap_or_else(timed_out) {
            Ok(Recovery::UpToDate) => {}
            Ok(Recovery::Changes(at, changes)) => {
                let lanes = HashMap::from([(*lane, at.position)]);
                self.deliver(name, changes.iter().map(|(change, at)| (change, *at)), &lanes);
                self.registry.set_delivered(model_lane, at);
            }
            Ok(Recovery::StartOver) => self.registry.start_over(name, Some(*lane)),
            Err(fault) => tracing::warn!(%fault, "cannot recover missed row notices; updates may be late"),
        }
    }
}
