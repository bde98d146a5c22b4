//! What a read model is. Written once; no context needs to change it.

mod fold;
mod key;
mod model;
mod naming;
mod shape;
mod sources;

use domain::shared::Permission;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use fold::{Change, Fold, Parked};
pub use key::{Key, Place};
pub use model::{Model, Models};
pub use naming::plural;
pub use shape::{Column, Kind};
pub use sources::{Folded, Sources, Unfoldable};

/// One row of something people look at, folded from events.
///
/// Its doc comments are the API's own text. Rows are flat: fields are ids, words, whole numbers, booleans, instants,
/// days, or lists. An amount is two fields, minor units and `currency`. No field is called `tenant`: the store puts
/// the tenant in front of every key and into every question.
pub trait ReadModel: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Raised when its fold changes but its fields do not; a new table is then built beside the old one.
    const REVISION: u32 = 1;
    /// What the reader must be allowed to do. It has no default, so that it cannot be forgotten.
    const NEEDS: Permission;
    /// The fields that identify a row within its tenant, in the order of the key.
    const KEY: &'static [&'static str];
    /// The fields that readers filter and order by.
    const INDEXED: &'static [&'static str] = &[];
    /// The field with the customer a row belongs to: a customer's token sees only her own rows. Without it,
    /// customers who are permitted to read the model see all of its rows.
    const OWNER: Option<&'static str> = None;
    /// What a field must be for customers to see a row at all, where there are rows that are not for them.
    const SHOWN: Option<(&'static str, &'static str)> = None;
    /// The field with the units that can still be had, where a row is a stream that commands take from and that may run
    /// out.
    const LEFT: Option<&'static str> = None;
    /// Whether every event makes a row of its own that no other event touches. Its key must be unique by the log itself:
    /// the stream and the sequence. An id that a caller chooses is not enough: where it comes twice, the event is parked
    /// and no rebuild can end. Such rows are written and never looked up.
    const APPENDS: bool = false;

    /// Names the streams it listens to, each with its key and its fold.
    fn sources(from: &mut Sources<Self>);
}

/// Visits all read models, context by context; see [`visit`](crate::visit).
pub trait Visitor {
    /// Begins a bounded context: the read models visited from here on belong to it.
    fn context(&mut self, name: &'static str);

    fn read_model<M: ReadModel>(&mut self);
}
