//! Group of read models: follows the lanes of this process on its own. A group that is late, or that fails, holds up no
//! other group; a model that is late, or that fails, catches up outside of its group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event_log::StoreFeed;
use projections::kernel::Model;
use projections::ports::{Fault, RawEvent};
use projections::projector::{BatchOutcome, ProjectionError, ProjectionErrorKind, Projector};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::event_pages::{EventPages, Page};
use super::progress_board::{Entry, ProgressBoard};
use crate::live::RowNotices;
use crate::store::PgRows;

/// Events of one projector batch, all lanes together.
const BATCH_EVENTS: usize = 2_000;
/// Number of events that a model may be behind its group when it joins it. The group reads these events again.
const EVENTS_BEHIND_MOST: i64 = 2_000;
/// Time after which catching up is interrupted to report the progress and to look for a new target.
const CATCH_UP_SLICE: Duration = Duration::from_secs(1);
/// Delay before a batch that failed is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longest delay before a model that failed repeatedly is tried again. The delay doubles with each failure.
const RETRY_DELAY_MOST: Duration = Duration::from_secs(10);

/// Target of a group: the lanes of this process, each with the position up to which there are events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) heads: BTreeMap<i16, i64>,
    /// Changes when the stored checkpoints must be read again, as after a rebuild.
    pub(super) generation: u64,
}

impl Target {
    fn lanes(&self) -> BTreeSet<i16> {
        self.heads.keys().copied().collect()
    }

    /// True if stored checkpoints must be read again when this target replaces another one.
    fn reopens(&self, before: &Self) -> bool {
        self.generation != before.generation || self.lanes() != before.lanes()
    }
}

/// One group, or one model that catches up outside of its group.
#[derive(Clone)]
pub(super) struct Group {
    /// Name for operators: that of the context, or that of the model.
    pub(super) name: String,
    pub(super) models: Vec<Model>,
    pub(super) pool: PgPool,
    pub(super) feed: StoreFeed,
    pub(super) pages: EventPages,
    pub(super) target: watch::Receiver<Target>,
    pub(super) board: ProgressBoard,
    /// Counts the projected batches.
    pub(super) progress: Arc<watch::Sender<u64>>,
    pub(super) notices: RowNotices,
}

/// Outcome of catching up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reached {
    /// There are no more events up to the target.
    Target,
    /// There may be more events.
    Part,
    /// Models did not advance, for these reasons.
    Failed(Vec<String>),
}

type PgProjector = Projector<PgRows, StoreFeed>;

impl Group {
    /// Follows the log for ever.
    pub(super) async fn run(mut self) {
        let entry = self.board.enter_group();
        loop {
            if let Err(fault) = self.follow(&entry).await {
                entry.set_problems(vec![self.described(&fault)]);
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Follows the log until the stored state cannot be read.
    async fn follow(&mut self, entry: &Entry) -> Result<(), Fault> {
        loop {
            let target = self.target.borrow_and_update().clone();
            let mut projector = self.open().await?;
            self.follow_with(&mut projector, target, entry).await?;
        }
    }

    /// Follows the log until the stored checkpoints must be read again.
    async fn follow_with(
        &mut self,
        projector: &mut PgProjector,
        mut target: Target,
        entry: &Entry,
    ) -> Result<(), Fault> {
        let mut late = JoinSet::new();
        loop {
            for model in projector.take_late(&target.lanes(), EVENTS_BEHIND_MOST) {
                late.spawn(self.alone(model).catch_up_alone(None));
            }
            entry.set_reached(positions(projector, &target));
            let reached = self.catch_up(projector, &target).await?;
            for (model, fault) in projector.take_failing() {
                tracing::warn!(model = model.name, fault, "a read model leaves its group and catches up alone");
                late.spawn(self.alone(model).catch_up_alone(Some(fault)));
            }
            entry.set_reached(positions(projector, &target));
            entry.set_problems(problems(projector));
            tokio::select! {
                changed = self.target.changed() => if changed.is_err() { std::future::pending().await },
                // A model that has caught up joins its group again.
                Some(_) = late.join_next() => return Ok(()),
                () = tokio::time::sleep(RETRY_DELAY), if matches!(reached, Reached::Failed(_)) => {}
                () = std::future::ready(()), if reached == Reached::Part => {}
            }
            let next = self.target.borrow_and_update().clone();
            if next.reopens(&target) {
                return Ok(());
            }
            target = next;
        }
    }

    /// The same for one model only.
    fn alone(&self, model: Model) -> Self {
        Self { name: model.name.clone(), models: vec![model], ..self.clone() }
    }

    /// Catches up to the target and ends when there are no more events. `fault`: the model has failed in its group.
    async fn catch_up_alone(mut self, fault: Option<String>) {
        let (entry, mut delay) = (self.board.enter_model(), Duration::ZERO);
        if let Some(fault) = fault {
            entry.set_problems(vec![format!("{} does not advance: {fault}", self.name)]);
            delay = RETRY_DELAY;
        }
        loop {
            tokio::time::sleep(delay).await;
            let problems = match self.try_alone(&entry).await {
                Ok(problems) if problems.is_empty() => return,
                Ok(problems) => problems,
                Err(fault) => vec![self.described(&fault)],
            };
            entry.set_problems(problems);
            delay = (delay * 2).clamp(RETRY_DELAY, RETRY_DELAY_MOST);
        }
    }

    /// Catches up to the target. Returns the problems for which that is impossible.
    async fn try_alone(&mut self, entry: &Entry) -> Result<Vec<String>, Fault> {
        let mut projector = self.open().await?;
        loop {
            let target = self.target.borrow_and_update().clone();
            match self.catch_up(&mut projector, &target).await? {
                Reached::Failed(reasons) => return Ok(reasons),
                Reached::Part => entry.set_problems(vec![]),
                Reached::Target => return Ok(vec![]),
            }
        }
    }

    async fn open(&self) -> Result<PgProjector, Fault> {
        Projector::open(PgRows::new(self.pool.clone()), self.feed.clone(), self.models.iter().cloned()).await
    }

    /// Projects the events up to the target, for at most [`CATCH_UP_SLICE`].
    async fn catch_up(&self, projector: &mut PgProjector, target: &Target) -> Result<Reached, Fault> {
        let (begun, mut had_gap) = (Instant::now(), false);
        while begun.elapsed() < CATCH_UP_SLICE {
            let pages = self.read(projector, target).await?;
            let events: Vec<&RawEvent> = pages.iter().flat_map(|page| page.iter()).collect();
            if events.is_empty() {
                return Ok(Reached::Target);
            }
            let outcome = projector.apply(&events).await?;
            self.progress.send_modify(|count| *count = count.wrapping_add(1));
            self.report(&outcome);
            let gaps = gaps(&outcome);
            let reasons: Vec<_> = outcome.errors.iter().map(does_not_advance).collect();
            let advanced = !outcome.changed.is_empty();
            self.notices.publish_batch(&events, outcome.changed);
            // The events of a gap are read from the log, once.
            for lane in &gaps {
                self.pages.forget(*lane).await;
            }
            if reasons.len() > gaps.len() || (!advanced && (had_gap || gaps.is_empty())) {
                return Ok(Reached::Failed(reasons));
            }
            had_gap = !gaps.is_empty();
        }
        Ok(Reached::Part)
    }

    /// Reads the next events of all lanes that have not reached the target.
    async fn read(&self, projector: &PgProjector, target: &Target) -> Result<Vec<Page>, Fault> {
        let position = |(lane, head): (&i16, &i64)| {
            projector.after(*lane).filter(|after| after < head).map(|after| (*lane, after))
        };
        let lagging: Vec<(i16, i64)> = target.heads.iter().filter_map(position).collect();
        let most = BATCH_EVENTS.div_ceil(lagging.len().max(1));
        let pages = lagging.into_iter().map(|(lane, after)| self.pages.after(lane, after, most));
        futures::future::try_join_all(pages).await
    }

    fn described(&self, fault: &Fault) -> String {
        match &fault.source {
            Some(source) => format!("{} does not advance: {fault}: {source}", self.name),
            None => format!("{} does not advance: {fault}", self.name),
        }
    }

    /// Logs the parked events and the errors of a batch.
    fn report(&self, outcome: &BatchOutcome) {
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
        for error in &outcome.errors {
            tracing::debug!(model = error.model, error = %error.kind, "a read model did not advance");
        }
    }
}

/// Position of the group in each lane of the target.
fn positions(projector: &PgProjector, target: &Target) -> impl Iterator<Item = (i16, Option<i64>)> {
    target.heads.keys().map(|lane| (*lane, projector.after(*lane)))
}

/// Lanes in which events are missing, once for each model.
fn gaps(outcome: &BatchOutcome) -> Vec<i16> {
    let gap = |kind: &ProjectionErrorKind| match kind {
        ProjectionErrorKind::Gap { lane, .. } => Some(*lane),
        ProjectionErrorKind::OtherHistory { .. } | ProjectionErrorKind::Fault(_) => None,
    };
    outcome.errors.iter().filter_map(|error| gap(&error.kind)).collect()
}

fn does_not_advance(error: &ProjectionError) -> String {
    let source = match &error.kind {
        ProjectionErrorKind::Fault(fault) => fault.source.as_ref().map(|source| format!(": {source}")),
        ProjectionErrorKind::Gap { .. } | ProjectionErrorKind::OtherHistory { .. } => None,
    };
    format!("{} does not advance: {}{}", error.model, error.kind, source.unwrap_or_default())
}

/// Models that do not advance, for operators.
fn problems(projector: &PgProjector) -> Vec<String> {
    let lane = |(model, lane): (&Model, i16)| {
        format!("{} has folded a lost history of lane {lane} and waits for its rebuild", model.name)
    };
    let fault = |(model, fault): (&Model, &str)| format!("{} does not advance: {fault}", model.name);
    projector.stopped().map(lane).chain(projector.failing().map(fault)).collect()
}
