//! What the read side asks of the floor above: history to fold, and a place for rows.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use domain::kernel::{Actor, Aggregate, Recorded, Unreadable};
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use uuid::Uuid;

use crate::kernel::{Change, Model, Parked, Place};

/// One event as the log or the wire carries it.
#[derive(Clone, Debug)]
pub struct RawEvent {
    pub lane: i16,
    /// Its number within the lane, from 1, without gaps.
    pub position: i64,
    /// The history it belongs to; see [`Epochs`].
    pub epoch: i64,
    pub tenant: TenantId,
    pub tenant_position: i64,
    pub stream_type: Box<str>,
    pub stream: Uuid,
    pub sequence: i64,
    pub principal: Principal,
    pub command: CommandId,
    pub index: i16,
    /// The dotted public name (`stock.reserved`).
    pub kind: Box<str>,
    pub version: i16,
    /// A JSON object as text, exactly as it was written.
    pub payload: Box<str>,
    pub actor: Actor,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
    /// The event, once somebody has read it: several models look at the same one.
    pub seen: Seen,
}

/// An event that was read, its type forgotten.
#[derive(Debug, Default)]
pub struct Seen(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Clone for Seen {
    /// A copy may be changed, so it is read anew.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl RawEvent {
    /// The event as its aggregate reads it; parsed the first time only.
    pub fn read<A: Aggregate>(&self) -> Result<Arc<Recorded<A::Event>>, Unreadable> {
        if let Some(Ok(seen)) = self.seen.0.get().map(|seen| Arc::clone(seen).downcast()) {
            return Ok(seen);
        }
        let event = Arc::new(self.recorded(A::read(&self.kind, self.version, &self.payload)?));
        // Whoever was faster has read the same.
        self.seen.0.set(Arc::<Recorded<A::Event>>::clone(&event)).ok();
        Ok(event)
    }

    /// The same place in the log with the event read.
    pub fn recorded<E>(&self, event: E) -> Recorded<E> {
        Recorded {
            tenant: self.tenant,
            stream: self.stream,
            sequence: self.sequence,
            tenant_position: self.tenant_position,
            principal: self.principal,
            command: self.command,
            index: self.index,
            actor: self.actor.clone(),
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            event,
        }
    }
}

/// How far somebody has come in one lane: the last position taken and the history it belonged to.
///
/// Position 0 is before the first event and belongs to every history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub lane: i16,
    pub position: i64,
    pub epoch: i64,
}

impl Checkpoint {
    /// Before the first event.
    pub const fn start(lane: i16) -> Self {
        Self { lane, position: 0, epoch: 0 }
    }
}

/// The histories of one lane in the order in which they began, each with its first position.
///
/// A later history may begin below the end of an earlier one: what the earlier one had from there on was lost in a
/// fail-over or a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(Vec<(i64, i64)>);

impl Epochs {
    /// From (epoch, first position), in the order in which they began.
    pub fn new(begun: Vec<(i64, i64)>) -> Self {
        Self(begun)
    }

    /// Whether what stands at this position today was written by this epoch.
    pub fn agrees(&self, position: i64, epoch: i64) -> bool {
        position == 0 || self.0.iter().rfind(|(_, first)| *first <= position).is_some_and(|(at, _)| *at == epoch)
    }

    /// Whether this epoch is known at all.
    pub fn knows(&self, epoch: i64) -> bool {
        self.0.iter().any(|(known, _)| *known == epoch)
    }

    /// The last position that a reader shares with today's history.
    pub fn last_common(&self, seen: Checkpoint) -> i64 {
        let Some(at) = self.0.iter().position(|(epoch, _)| *epoch == seen.epoch) else { return 0 };
        let later = self.0.iter().skip(at + 1).map(|(_, first)| first - 1);
        later.fold(seen.position, i64::min)
    }
}

/// The log, read in order.
pub trait History: Send + Sync {
    /// The events of a lane after a position, at most so many, in order and without gaps.
    fn events(&self, lane: i16, after: i64, most: usize) -> impl Future<Output = Result<Vec<RawEvent>, Fault>> + Send;

    /// How far every lane reaches right now.
    fn heads(&self) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send;

    /// The histories of a lane.
    fn epochs(&self, lane: i16) -> impl Future<Output = Result<Epochs, Fault>> + Send;
}

/// A row as the store has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// JSON text; nothing where there is no such row.
    pub row: Option<String>,
    /// Whether earlier events of its key are parked.
    pub waiting: bool,
}

/// From where to where in one lane.
pub type Move = (Checkpoint, Checkpoint);

/// Everything that one batch changes in one read model.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// From where to where, once per lane.
    pub moves: Vec<Move>,
    pub changes: Vec<Change>,
    pub parked: Vec<Parked>,
}

/// The rows of all read models.
pub trait Rows: Send + Sync {
    /// How far a read model has come, once per lane; nothing where its table was not made yet.
    fn checkpoints(&self, model: &Model) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send;

    /// The rows at these places, in the order asked for.
    fn load(&self, model: &Model, places: &[Place]) -> impl Future<Output = Result<Vec<Loaded>, Fault>> + Send;

    /// Takes a whole step or nothing of it. [`Cause::Conflict`] where a checkpoint is not where the step begins:
    /// somebody else keeps this model.
    fn put(&self, model: &Model, step: &Step) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Moves the checkpoints of models that a batch does not concern: all of them or none. [`Cause::Conflict`] as with
    /// [`put`](Rows::put), whichever model it is.
    fn pass(&self, moves: &[(Arc<Model>, Vec<Move>)]) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// The machine could not.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct Fault {
    pub cause: Cause,
    /// What was being done, for operators.
    pub doing: String,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of fault it is, and so what may be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Try again later.
    Unavailable,
    /// What is stored cannot be right; a person must look.
    Corrupt,
    /// Somebody else was faster; read again where things stand.
    Conflict,
}

impl Fault {
    pub fn new(cause: Cause, doing: impl Into<String>) -> Self {
        Self { cause, doing: doing.into(), source: None }
    }

    /// With what went wrong below.
    pub fn caused(cause: Cause, doing: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause, doing: doing.into(), source: Some(source.into()) }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the store cannot be reached",
            Self::Corrupt => "the store holds what cannot be right",
            Self::Conflict => "somebody else was faster",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_history_is_seen_and_the_last_common_position_is_found() {
        let (first, second, third) = (11, 22, 33);
        let epochs = Epochs::new(vec![(first, 1), (second, 100), (third, 51)]);
        assert!(epochs.agrees(0, 0) && epochs.agrees(50, first) && epochs.agrees(120, third));
        assert!(!epochs.agrees(99, first) && !epochs.agrees(120, second));

        let at = |position, epoch| epochs.last_common(Checkpoint { lane: 0, position, epoch });
        assert_eq!([at(40, first), at(99, first), at(120, second), at(60, third), at(7, 44)], [40, 50, 50, 60, 0]);
    }
}
