//! Builds a read model anew from the log, beside the one that readers see, then switches.
//!
//! The target is fixed first, and the build never ends short of it: dense positions are counted, epochs are compared,
//! and a page that comes back empty before the target is an error (reliability, finding 3). Rows are folded in memory
//! as long as the budget lasts, because putting them one by one would be the slowest part.

use std::collections::HashSet;
use std::future::Future;

use domain::kernel::Unreadable;
use futures::future::join;
use projections::kernel::{Change, Fold, Model, Parked, Place};
use projections::ports::{Cause, Checkpoint, Epochs, Fault, History, Loaded, RawEvent};

/// Tables under construction.
pub trait Builds: Send + Sync {
    /// An empty table for a model beside the one that readers see; what an earlier build left is thrown away.
    fn begin(&self, model: &Model) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The rows under construction at these places, in the order asked for.
    fn load(&self, model: &Model, places: &[Place]) -> impl Future<Output = Result<Vec<Loaded>, Fault>> + Send;

    /// Puts and deletes rows; the first stretch meets an empty table.
    fn fill(&self, model: &Model, changes: &[Change], first: bool) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Lets readers see the new table and the projector go on from there, in one step.
    fn switch(
        &self,
        model: &Model,
        at: &[Checkpoint],
        parked: &[Parked],
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// How much a build may hold in memory, and how it reads.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Rows in memory before they are written down.
    pub rows_most: usize,
    /// Events read at a time.
    pub page: usize,
}

impl Default for Budget {
    /// About 100 MB for rows of half a kilobyte; pages of some megabytes.
    fn default() -> Self {
        Self { rows_most: 200_000, page: 10_000 }
    }
}

/// What a build came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    pub events: u64,
    /// Rows written down; one that is written down twice counts twice.
    pub rows: u64,
    pub parked: Vec<Parked>,
    /// Where the model stands, lane by lane.
    pub at: Vec<Checkpoint>,
}

/// Why a build was given up. Readers still see the table they saw before.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log has no event where one must be.
    #[error("lane {lane} ends after position {at}, before the target {target}")]
    EndsShort { lane: i16, at: i64, target: i64 },
    /// An event of a history that the log itself calls lost.
    #[error("lane {lane}, position {position}: epoch {epoch} is not the one that wrote this position")]
    OtherHistory { lane: i16, position: i64, epoch: i64 },
    /// The code cannot read an event.
    #[error("lane {lane}, position {position}, stream {stream_type}: {unreadable}")]
    Unreadable { lane: i16, position: i64, stream_type: String, unreadable: Unreadable },
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Builds one read model up to where the log ends now, and switches to it.
pub async fn rebuild(
    model: &Model,
    history: &impl History,
    builds: &impl Builds,
    budget: Budget,
) -> Result<Rebuilt, RebuildError> {
    let targets = history.heads().await?;
    builds.begin(model).await?;
    let mut build = Build {
        model,
        builds,
        budget,
        fold: model.begin(),
        filled: false,
        waiting: HashSet::new(),
        done: Rebuilt { events: 0, rows: 0, parked: Vec::new(), at: targets.clone() },
    };
    for target in targets {
        build.lane(history, target).await?;
    }
    build.flush().await?;
    builds.switch(model, &build.done.at, &build.done.parked).await?;
    tracing::info!(model = model.name, events = build.done.events, rows = build.done.rows, "read model rebuilt");
    Ok(build.done)
}

/// A build under way.
struct Build<'b, B> {
    model: &'b Model,
    builds: &'b B,
    budget: Budget,
    fold: Box<dyn Fold>,
    /// Whether rows were written down, so that a row that is not in memory may exist.
    filled: bool,
    /// The keys with parked events.
    waiting: HashSet<Place>,
    done: Rebuilt,
}

impl<B: Builds> Build<'_, B> {
    async fn lane(&mut self, history: &impl History, target: Checkpoint) -> Result<(), RebuildError> {
        let (lane, most) = (target.lane, self.budget.page);
        let epochs = history.epochs(lane).await?;
        let mut at = Checkpoint::start(lane);
        let mut page = history.events(lane, 0, most).await?;
        while at.position < target.position {
            page.retain(|event| event.position <= target.position);
            let Some(last) = page.last() else {
                return Err(RebuildError::EndsShort { lane, at: at.position, target: target.position });
            };
            // The next page is on its way while this one is folded.
            let (next, folded) =
                join(history.events(lane, last.position, most), self.page(&mut at, &page, &epochs)).await;
            folded?;
            page = next?;
        }
        Ok(())
    }

    async fn page(&mut self, at: &mut Checkpoint, page: &[RawEvent], epochs: &Epochs) -> Result<(), RebuildError> {
        for event in page {
            self.read(at, event, epochs)?;
        }
        self.done.events += page.len() as u64;
        if self.filled {
            self.fetch().await?;
        }
        let parked = self.fold.fold();
        self.waiting.extend(parked.iter().map(|parked| parked.place.clone()));
        self.done.parked.extend(parked);
        if self.fold.len() >= self.budget.rows_most { self.flush().await } else { Ok(()) }
    }

    /// Reads one event, if it is the one that must come next.
    fn read(&mut self, at: &mut Checkpoint, event: &RawEvent, epochs: &Epochs) -> Result<(), RebuildError> {
        let (lane, position, epoch) = (event.lane, event.position, event.epoch);
        if position != at.position + 1 {
            return Err(RebuildError::EndsShort { lane, at: at.position, target: position });
        }
        if epoch != at.epoch && !epochs.agrees(position, epoch) {
            return Err(RebuildError::OtherHistory { lane, position, epoch });
        }
        let stream_type = || event.stream_type.to_string();
        self.fold.read(event).map_err(|unreadable| RebuildError::Unreadable {
            lane,
            position,
            stream_type: stream_type(),
            unreadable,
        })?;
        *at = Checkpoint { lane, position, epoch };
        Ok(())
    }

    /// Fetches what was written down before and is needed again.
    async fn fetch(&mut self) -> Result<(), RebuildError> {
        let places = self.fold.missing();
        if places.is_empty() {
            return Ok(());
        }
        let loaded = self.builds.load(self.model, &places).await?;
        for (place, found) in places.iter().zip(&loaded) {
            let waiting = self.waiting.contains(place);
            self.fold.supply(place, found.row.as_deref(), waiting).map_err(|error| self.corrupt(error))?;
        }
        Ok(())
    }

    /// Writes down what is in memory and forgets it.
    async fn flush(&mut self) -> Result<(), RebuildError> {
        let changes = self.fold.drain().map_err(|error| self.corrupt(error))?;
        self.builds.fill(self.model, &changes, !self.filled).await?;
        self.filled = true;
        self.done.rows += changes.len() as u64;
        Ok(())
    }

    fn corrupt(&self, unreadable: Unreadable) -> Fault {
        Fault::caused(Cause::Corrupt, format!("building {}", self.model.name), unreadable)
    }
}

#[cfg(test)]
mod tests;
