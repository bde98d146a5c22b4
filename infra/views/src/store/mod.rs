//! PostgreSQL: the log as history, and a table for each read model.
//!
//! The statements of the row store are made from the descriptions of our own row types; what callers send only ever
//! travels as bound values.

mod binary;
mod build;
mod digest;
mod reader;
mod rows;
mod snapshot;
mod tables;

pub use build::PgBuilds;
pub use digest::{digest, rows};
pub use reader::PgReader;
pub use rows::PgRows;
pub(crate) use snapshot::Snapshot;

use event_log::fault;
use projections::ports::{Cause, Fault};

/// A row that does not fit the description of its model.
fn unfit(doing: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Fault {
    move |error| Fault::caused(Cause::Corrupt, doing, error)
}
