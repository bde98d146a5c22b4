//! Ports of the read side, implemented by the infrastructure layer: event history and row storage.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use domain::shared::TenantId;
use uuid::Uuid;

use crate::kernel::{Change, Model, Parked, Place};
pub use crate::kernel::{DecodedEvent, RawEvent};

/// Progress of a reader in one lane: the last position it applied, and the epoch of that event.
///
/// Position 0 is before the first event and is valid in every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub lane: i16,
    pub position: i64,
    pub epoch: i64,
}

impl Checkpoint {
    /// Checkpoint before the first event.
    pub const fn start(lane: i16) -> Self {
        Self { lane, position: 0, epoch: 0 }
    }
}

/// Epochs of one lane in the order in which they began, each with its first position.
///
/// If a later epoch begins at or below the end of an earlier one, the events of the earlier one from that position on
/// were lost in a fail-over or a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(Vec<(i64, i64)>);

impl Epochs {
    /// Takes pairs of epoch and first position, in the order in which the epochs began.
    pub fn new(begun: Vec<(i64, i64)>) -> Self {
        Self(begun)
    }

    /// True if the current event at this position was written in this epoch.
    pub fn agrees(&self, position: i64, epoch: i64) -> bool {
        position == 0 || self.0.iter().rfind(|(_, first)| *first <= position).is_some_and(|(at, _)| *at == epoch)
    }

    /// Epoch in which the current event at this position was written; 0 before the first event.
    pub fn at(&self, position: i64) -> i64 {
        if position == 0 {
            return 0;
        }
        self.0.iter().rfind(|(_, first)| *first <= position).map_or(0, |(epoch, _)| *epoch)
    }

    /// True if this epoch is known.
    pub fn knows(&self, epoch: i64) -> bool {
        self.0.iter().any(|(known, _)| *known == epoch)
    }

    /// Last position up to which the events that a reader applied are still those of the log.
    pub fn last_common(&self, checkpoint: Checkpoint) -> i64 {
        let Some(at) = self.0.iter().position(|(epoch, _)| *epoch == checkpoint.epoch) else { return 0 };
        let later = self.0.iter().skip(at + 1).map(|(_, first)| first - 1);
        later.fold(checkpoint.position, i64::min)
    }
}

/// Event log, read in order.
pub trait History: Send + Sync {
    /// Reads at most `most` events of a lane after a position, in order and without gaps.
    fn events(&self, lane: i16, after: i64, most: usize) -> impl Future<Output = Result<Vec<RawEvent>, Fault>> + Send;

    /// Current end of every lane.
    fn heads(&self) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send;

    /// Epochs of a lane.
    fn epochs(&self, lane: i16) -> impl Future<Output = Result<Epochs, Fault>> + Send;
}

/// History that can be read by stream type, for rebuilds.
pub trait HistoryScan: History {
    /// Reads the events of a lane with `after < position <= upto` in streams of these types, in order.
    fn scan(
        &self,
        lane: i16,
        range: (i64, i64),
        streams: &[&str],
    ) -> impl Future<Output = Result<Vec<RawEvent>, Fault>> + Send;

    /// Number of events of a lane with `after < position <= upto`, whatever their streams are.
    fn count(&self, lane: i16, range: (i64, i64)) -> impl Future<Output = Result<i64, Fault>> + Send;
}

/// Row as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedRow {
    /// JSON text; `None` if the row does not exist.
    pub row: Option<String>,
    /// True if earlier events of its key are parked.
    pub waiting: bool,
}

/// Checkpoints of one lane before and after a batch.
pub type Move = (Checkpoint, Checkpoint);

/// One stream of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPlace {
    pub tenant: TenantId,
    pub stream_type: Box<str>,
    pub stream: Uuid,
}

impl StreamPlace {
    pub fn of(event: &RawEvent) -> Self {
        Self { tenant: event.tenant, stream_type: event.stream_type.clone(), stream: event.stream }
    }
}

/// A stream with an event that a read model cannot decode. The model folds neither this event nor later ones of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedStream {
    pub place: StreamPlace,
    pub lane: i16,
    /// Position of the first event that is not folded.
    pub position: i64,
    /// Message for operators.
    pub reason: String,
}

/// All changes of one batch to one read model.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Checkpoints before and after, once per lane.
    pub moves: Vec<Move>,
    pub changes: Vec<Change>,
    pub parked: Vec<Parked>,
    /// Streams that are parked from now on.
    pub parked_streams: Vec<ParkedStream>,
    /// Streams that were parked before and of which the batch has events.
    pub skipped: BTreeSet<StreamPlace>,
}

/// Row storage of all read models.
pub trait Rows: Send + Sync {
    /// Checkpoints of a read model, one per lane; empty if its table is not live yet.
    fn checkpoints(&self, model: &Model) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send;

    /// Streams that are parked for a read model.
    fn parked_streams(&self, model: &Model) -> impl Future<Output = Result<BTreeSet<StreamPlace>, Fault>> + Send;

    /// Loads the rows of each of these models at its places, in the same order. The models are loaded in parallel.
    fn load(
        &self,
        wanted: &[(Arc<Model>, Vec<Place>)],
    ) -> impl Future<Output = Result<Vec<Vec<LoadedRow>>, Fault>> + Send;

    /// Stores the steps of these models in one transaction: all of them or none. Fails with [`Cause::Conflict`] if a
    /// stored checkpoint is not the one where its step begins, because another projector has advanced it, or if a stream
    /// that a step skips is no longer parked.
    fn put(&self, steps: &[(Arc<Model>, Step)]) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Technical failure, as opposed to a mistake of the caller.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct Fault {
    pub cause: Cause,
    /// Operation that failed, for operators.
    pub doing: String,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// Kind of a fault, which decides how to handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The store is unavailable, possibly after it has committed; retry later.
    Unavailable,
    /// Stored data is invalid; an operator must look at it.
    Corrupt,
    /// A concurrent writer was faster; reload and retry.
    Conflict,
}

impl Fault {
    pub fn new(cause: Cause, doing: impl Into<String>) -> Self {
        Self { cause, doing: doing.into(), source: None }
    }

    /// Makes a fault with the error that caused it.
    pub fn caused(cause: Cause, doing: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause, doing: doing.into(), source: Some(source.into()) }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the store cannot be reached",
            Self::Corrupt => "the stored data is invalid",
            Self::Conflict => "a concurrent writer was faster",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_epoch_is_detected_and_the_last_common_position_found() {
        let (first, second, third) = (11, 22, 33);
        let epochs = Epochs::new(vec![(first, 1), (second, 100), (third, 51)]);
        assert!(epochs.agrees(0, 0) && epochs.agrees(50, first) && epochs.agrees(120, third));
        assert!(!epochs.agrees(99, first) && !epochs.agrees(120, second));
        assert_eq!([epochs.at(0), epochs.at(50), epochs.at(51), epochs.at(120)], [0, first, third, third]);

        let at = |position, epoch| epochs.last_common(Checkpoint { lane: 0, position, epoch });
        assert_eq!([at(40, first), at(99, first), at(120, second), at(60, third), at(7, 44)], [40, 50, 50, 60, 0]);
    }
}
