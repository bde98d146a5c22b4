//! The `ReadModel` trait and its machinery, independent of any context.

mod fold;
mod key;
mod model;
mod names;
mod raw_event;
mod shape;
mod sources;

use domain::shared::Permission;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use fold::{Change, Fold, Parked};
pub use key::{Key, Place};
pub use model::{Model, Models};
pub use names::plural;
pub use raw_event::{DecodedEvent, RawEvent};
pub use shape::{Column, ColumnType};
pub use sources::{Folded, Sources, Unfoldable};

/// Row type of a read model, folded from events.
///
/// Its doc comments are published as API documentation. Rows are flat: fields are ids, words, whole numbers, booleans,
/// instants, days, or lists. An amount is two fields, minor units and `currency`. No field is called `tenant`: the
/// store adds the tenant to every key and to every query.
pub trait ReadModel: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Version of the fold. Raise it when the fold changes and the fields do not; a new table is then built beside the
    /// old one.
    const REVISION: u32 = 1;
    /// Permission required to read the model. No default, so it cannot be forgotten.
    const NEEDS: Permission;
    /// Fields that identify a row within its tenant, in key order.
    const KEY: &'static [&'static str];
    /// Fields that queries can filter and order by, besides the key.
    const INDEXED: &'static [&'static str] = &[];
    /// Field with the id of the customer who owns the row. A customer's token reads only that customer's rows. Without
    /// an owner field, customers who have the permission read all rows.
    const OWNER: Option<&'static str> = None;
    /// Field and value that make a row visible to customers. Rows with another value are hidden from them.
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = None;
    /// Field with the units still available, for models with one row per stream of something that can sell out.
    const REMAINING: Option<&'static str> = None;
    /// True if the model is append-only: every event makes its own row and no other event changes it. The key must then
    /// be unique in the log by construction: stream and sequence. An id chosen by a caller is not enough: a duplicate
    /// would park the event and fail every rebuild. Append-only rows are inserted without being loaded first.
    const APPENDS: bool = false;

    /// Registers the streams the model listens to, each with its key and its fold.
    fn sources(from: &mut Sources<Self>);
}

/// Visits all read models, context by context; see [`visit`](crate::visit).
pub trait Visitor {
    /// Begins a bounded context: the read models visited from here on belong to it.
    fn context(&mut self, name: &'static str);

    fn read_model<M: ReadModel>(&mut self);
}
