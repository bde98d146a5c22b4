//! Kernel of the domain layer: the aggregate trait, the event codec and the registry. Independent of any context.

mod encoded;
mod fact;
mod published;
mod recorded;
mod registry;
mod upcaster;

use std::fmt::Debug;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub use encoded::{Encoded, Unreadable, decode, encode};
pub use fact::Fact;
pub use published::{PublicForm, PublicShape, Published};
pub use recorded::{Actor, Recorded, event_id};
pub use registry::{
    AggregateDescriptor, EventDescriptor, aggregate_by_stream_type, aggregates, event_by_name, log_format,
    private_event_names, publish_stored,
};
pub use upcaster::Upcaster;

/// Consistency boundary: a state that is folded from its own events, and verbs that decide on it.
///
/// Verbs are plain methods that take values and return a [`Decision`]. A verb returns no events if the state is already
/// the one that it would bring about. `apply` cannot fail, because a stored event cannot be refused any more.
pub trait Aggregate: Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Stream type (`StockItem`), named as in the glossary. Part of the stored format.
    const TYPE: &'static str;
    /// Version of the state. Raise it when the meaning of the state changes: snapshots of other versions are ignored.
    const STATE_VERSION: i32 = 1;
    /// Steps from older versions of events to the current ones. A change of an event that serde's defaults do not cover
    /// adds a step here, and a fossil of the new version.
    const UPCASTERS: &'static [Upcaster] = &[];
    /// False if all events of this aggregate are private: they are sent to no receiver outside the engine.
    const PUBLISHED: bool = true;
    /// Events that are private or published in another shape. All others are published as they are stored, without their
    /// personal fields.
    const PUBLIC_FORMS: &'static [PublicForm<Self::Event>] = &[];
    /// Typed id of one stream.
    type Id: StreamId;
    type Event: Event;
    type Rejection: Rejection;

    /// Folds one event into the state.
    fn apply(&mut self, event: &Self::Event);

    /// Decodes a stored event of any version ever written.
    fn read(name: &str, version: i16, payload: &str) -> Result<Self::Event, Unreadable> {
        decode(name, &upcaster::upcast(Self::UPCASTERS, name, version, payload)?)
    }

    /// The event as it is published; `None` if it is private. Fails only for a public shape that JSON cannot represent.
    fn publish(event: &Self::Event) -> Result<Option<Published<'static>>, Unreadable> {
        published::publish::<Self>(event)
    }

    /// Version under which an event of this name is written: one more than its number of upcasters.
    fn event_version(name: &str) -> i16 {
        upcaster::current_version(Self::UPCASTERS, name)
    }
}

/// Result of a verb: the new events, or the business rejection.
pub type Decision<A> = Result<Vec<<A as Aggregate>::Event>, <A as Aggregate>::Rejection>;

/// Typed id of a stream.
pub trait StreamId: Copy + Debug + Eq + Send + Sync + 'static {
    fn uuid(self) -> Uuid;
}

/// Event of an aggregate. Always an enum whose variants have named fields and carry
/// `#[serde(rename = "dotted.name")]`; names and fields are the stored format.
pub trait Event: Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {}
impl<T> Event for T where
    T: Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}

/// Business rejection of a command. Always an enum with `#[serde(rename_all = "SCREAMING_SNAKE_CASE")]`: the variant is
/// the stable code, the fields are the details, the `thiserror` text is the message.
pub trait Rejection: std::error::Error + Clone + PartialEq + Serialize + JsonSchema + Send + Sync + 'static {
    /// Advice to the caller about another attempt. The same command id always gets the stored answer; a rejection with
    /// [`Retry::SameId`] is not stored for callers, because what the command needs is about to come.
    fn retry(&self) -> Retry {
        Retry::NewId
    }
}

/// Rejection of an aggregate whose verbs accept every call.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
pub enum NoRejection {}

impl Rejection for NoRejection {}

/// Advice to a caller whose command was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Retry {
    /// Nothing was decided: send the same command with the same id again.
    SameId,
    /// The command was decided and rejected. The state may change, so a new attempt needs a new id.
    NewId,
    /// The command will be rejected at every attempt.
    Never,
}

/// Visitor of the aggregate types: one call for each.
pub trait Visitor {
    /// Announces the bounded context of the aggregates that follow.
    fn context(&mut self, _name: &'static str) {}
    fn aggregate<A: Aggregate>(&mut self);
}
