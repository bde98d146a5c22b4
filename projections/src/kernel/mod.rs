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
pub use model::{Model, Models, SearchedField};
pub use names::plural;
pub use raw_event::{DecodedEvent, RawEvent};
pub use shape::{Column, ColumnType};
pub use sources::{Folded, Sources, Unfoldable, add};

/// Row type of a read model, folded from events.
///
/// Its doc comments are published as API documentation. Rows are flat: fields are ids, texts, whole numbers, booleans,
/// instants, days, or lists. An amount of money is two fields, minor units and `currency`. No field is called `tenant`:
/// the store adds the tenant to every key and to every query.
pub trait ReadModel: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Version of the fold. Raise it when the fold changes and the fields do not, so that a new table is built beside
    /// the old one; a change of fields has that effect by itself.
    const REVISION: u32 = 1;
    /// Permission required to read the model. No default, so it cannot be forgotten.
    const NEEDS: Permission;
    /// Fields that identify a row within its tenant, in key order.
    const KEY: &'static [&'static str];
    /// Fields that queries can filter and order by, besides the key.
    const INDEXED: &'static [&'static str] = &[];
    /// Field with the id of the customer who owns the row. A customer's token reads only that customer's rows.
    const OWNER: Option<&'static str> = None;
    /// Fields shown to every caller of the tenant, customers included, for a model without an owner. The others need
    /// the permission, and customers never see them. Empty: the model is closed to customers and to callers without
    /// the permission.
    const PUBLIC: &'static [&'static str] = &[];
    /// Field and value that make a row public. Callers who see only the public fields do not see rows with another value.
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = None;
    /// Field with the units still available, for models with one row per stream of something that can sell out.
    const REMAINING: Option<&'static str> = None;
    /// Personal fields by whose words a row is found, of a model with one row per person, whose key is its owner. Queries
    /// get the condition `text`. Raise [`REVISION`](Self::REVISION) with a change: the rebuild indexes all rows again.
    const SEARCHED: &'static [&'static str] = &[];
    /// True if the model is append-only: an event makes at most one row, and no other event changes that row. Its rows
    /// are inserted without being loaded first, so the key must be unique by construction (stream and sequence): a
    /// duplicate of an id that callers choose would park the event and fail every rebuild.
    const APPENDS: bool = false;

    /// Registers the stream types the model listens to, each with its key function and its fold.
    fn sources(from: &mut Sources<Self>);
}

/// Visits all read models, context by context; see [`visit`](crate::visit).
pub trait Visitor {
    /// Begins a bounded context: the read models visited from here on belong to it.
    fn context(&mut self, name: &'static str);

    fn read_model<M: ReadModel>(&mut self);
}
