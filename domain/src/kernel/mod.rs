//! What an aggregate is. Written once; no context needs to change it.

mod catalogue;
mod named;
mod recorded;

use std::fmt::Debug;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub use catalogue::{
    AggregateDescriptor, aggregate_by_event_name, aggregate_by_stream_type, aggregates, unpublished_stream_types,
};
pub use named::{Named, Unreadable, decode, encode};
pub use recorded::{Actor, Recorded, event_id};

/// One consistency boundary: a state that is folded from its own events, and verbs that decide on it.
///
/// Verbs are plain methods that take values and return a [`Decision`]; a repeat of what already holds returns no
/// events. `apply` cannot fail: what was decided is history.
pub trait Aggregate: Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stream type, as the inventory names it (`StockItem`). Part of the stored format.
    const TYPE: &'static str;
    /// Raised whenever the state means something else than before; older snapshots are then ignored.
    const STATE_VERSION: i32 = 1;
    /// Whether events of this aggregate are sent to webhooks and other subscribers outside.
    const PUBLISHED: bool = true;
    /// The typed id of one stream.
    type Id: StreamId;
    type Event: Event;
    type Rejection: Rejection;

    /// Takes one fact into the state.
    fn apply(&mut self, event: &Self::Event);

    /// Reads a stored event of any version ever written. Overridden when a version needs more than serde's defaults.
    fn read(name: &str, _version: i16, payload: &str) -> Result<Self::Event, Unreadable> {
        decode(name, payload)
    }

    /// The version that new events are written with.
    const EVENT_VERSION: i16 = 1;
}

/// What a verb answers: the facts that now hold, or why the business says no.
pub type Decision<A> = Result<Vec<<A as Aggregate>::Event>, <A as Aggregate>::Rejection>;

/// The typed id of a stream.
pub trait StreamId: Copy + Debug + Eq + Send + Sync + 'static {
    fn uuid(self) -> Uuid;
}

/// A fact. Always an enum whose variants have named fields and carry `#[serde(rename = "dotted.name")]`;
/// names and fields are the stored format.
pub trait Event: Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {}
impl<T> Event for T where
    T: Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}

/// The business says no. Always an enum that carries the facts, with `#[serde(rename_all = "SCREAMING_SNAKE_CASE")]`:
/// the variant is the stable code, the fields are the details, the `thiserror` text is the message.
pub trait Rejection: std::error::Error + Clone + PartialEq + Serialize + JsonSchema + Send + Sync + 'static {
    /// Whether another attempt can make sense. The same id always gets the stored answer.
    fn retry(&self) -> Retry {
        Retry::NewId
    }
}

/// What a caller may do after a command was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Retry {
    /// Nothing was decided; send the same command with the same id again.
    SameId,
    /// It was decided and refused; circumstances may change, so a new attempt needs a new id.
    NewId,
    /// It will be refused however often it is sent.
    Never,
}

/// Sees every aggregate of the house, one call each.
pub trait Visitor {
    fn aggregate<A: Aggregate>(&mut self);
}
