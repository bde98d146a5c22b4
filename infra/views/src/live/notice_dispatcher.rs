//! Notice dispatcher: puts the rows of row notices, from this and other processes, into the subscriber queues, and
//! recovers from gaps.

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

/// Interval of the checkpoint check, which finds lost notices, while the notices of all projectors are received.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the checkpoint check while those of other processes are not received.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time limit of one recovery. The next checkpoint check tries it again.
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
        let mut previous = HashMap::new();
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
                    self.check_progress(&mut previous).await;
                    let is_notified = self.projects_all || remote.is_connected();
                    next_check = Instant::now() + if is_notified { CHECK_INTERVAL } else { POLL_INTERVAL };
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
                    Continuity::Skip => {}
                    Continuity::Next => {
                        lanes.insert(to.lane, to.position);
                        reached.push((model_lane, *to));
                    }
                    Continuity::Gap => self.recover(&model_lane).await,
                }
            }
            let changes = changed.rows.iter().filter_map(|row| Some((row, *batch.tenants.get(&row.place.tenant)?)));
            self.queue_changes(&changed.model, changes, &lanes);
            for (model_lane, to) in reached {
                self.registry.set_queued_up_to(&model_lane, to);
            }
        }
    }

    /// Queues the changes of a batch. `lanes`: for each lane of the batch, the position that the batch reaches.
    fn queue_changes<'c>(
        &self,
        model: &str,
        changes: impl Iterator<Item = (&'c Change, Freshness)>,
        lanes: &HashMap<i16, i64>,
    ) {
        if !lanes.is_empty() {
            let queues: Vec<_> =
                changes.flat_map(|(change, at)| self.registry.queue_change(model, change, lanes, at)).collect();
            // An update may carry the position of the batch only after all its rows.
            queues.iter().for_each(|queue| queue.finish_batch());
        }
    }

    /// Compares the stored checkpoints with the queued ones. A lane recovers if its changes up to the checkpoint stored
    /// at the previous check are still not queued, or if its stored checkpoint has moved back.
    async fn check_progress(&self, previous: &mut HashMap<ModelLane, Checkpoint>) {
        let queued = self.registry.queued_up_to();
        match self.checkpoints(&queued).await {
            Ok(current) => {
                for (model_lane, queued) in &queued {
                    let is_late = previous.get(model_lane).is_some_and(|stored| stored.position > queued.position);
                    let moved_back = current.get(model_lane).is_some_and(|stored| stored.position < queued.position);
                    if is_late || moved_back {
                        self.recover(model_lane).await;
                    }
                }
                *previous = current;
            }
            Err(fault) => tracing::debug!(%fault, "cannot check for missed row notices; updates may be late"),
        }
    }

    /// Stored checkpoints of these models.
    async fn checkpoints(&self, queued: &[(ModelLane, Checkpoint)]) -> Result<HashMap<ModelLane, Checkpoint>, Fault> {
        let models = queued.iter().filter_map(|((model, _), _)| self.models.get(model));
        let (mut names, mut shapes): (Vec<&str>, Vec<&str>) =
            models.map(|model| (model.name.as_str(), model.shape.as_str())).unzip();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        names.dedup();
        shapes.dedup();
        let text = "SELECT model, lane, position, epoch FROM reads.checkpoints
                    WHERE model = ANY($1) AND shape = ANY($2)";
        let query = sqlx::query_as(text).bind(&names).bind(&shapes).fetch_all(&self.auditors);
        let rows: Vec<(String, i16, i64, i64)> = within_statement_timeout(query)
            .await
            .map_err(|error| Fault::caused(Cause::Unavailable, "reading checkpoints", error))?;
        let at = |(model, lane, position, epoch)| ((model, lane), Checkpoint { lane, position, epoch });
        Ok(rows.into_iter().map(at).collect())
    }

    /// Finds the missed changes of a read model in one lane and queues them.
    async fn recover(&self, model_lane: &ModelLane) {
        let (name, lane) = model_lane;
        let progress = self.registry.queued_up_to().into_iter().find(|(known, _)| known == model_lane);
        let (Some(model), Some((_, queued))) = (self.models.get(name), progress) else { return };
        metrics::counter!("cartulary_live_looked_up_total").increment(1);
        let timed_out = |_| Err(Fault::new(Cause::Unavailable, "the database does not answer"));
        let recovery = timeout(RECOVERED_WITHIN, recover(&self.auditors, model, queued, &self.registry)).await;
        match recovery.unwrap_or_else(timed_out) {
            Ok(Recovery::UpToDate) => {}
            Ok(Recovery::Changes(at, changes)) => {
                let lanes = HashMap::from([(*lane, at.position)]);
                self.queue_changes(name, changes.iter().map(|(change, at)| (change, *at)), &lanes);
                self.registry.set_queued_up_to(model_lane, at);
            }
            Ok(Recovery::StartOver) => self.registry.start_over(name, Some(*lane)),
            Err(fault) => tracing::warn!(%fault, "cannot recover missed row notices; updates may be late"),
        }
    }
}
