//! PostgreSQL: the log as history, and a table for each read model.
//!
//! The statements of the row store are made from the descriptions of our own row types; what callers send only ever
//! travels as bound values.

mod binary;
mod build;
mod digest;
mod history;
mod reader;
mod rows;
mod snapshot;
mod tables;

pub use build::PgBuilds;
pub use digest::{digest, rows};
pub use history::PgHistory;
pub(crate) use history::{actor, event};
pub use reader::PgReader;
pub use rows::PgRows;
pub(crate) use snapshot::Snapshot;

use projections::ports::{Cause, Fault};

/// Gives an error of the database its meaning, once, where it is known what was being done.
fn fault(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Fault {
    move |error| {
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        // SQLSTATE classes: 22 and 23 are about values; 40 is about two transactions in each other's way.
        let cause = match code.get(..2) {
            Some("22" | "23") => Cause::Corrupt,
            Some("40") => Cause::Conflict,
            _ => Cause::Unavailable,
        };
        Fault::caused(cause, doing, error)
    }
}

/// A row that does not fit the description of its model.
fn unfit(doing: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Fault {
    move |error| Fault::caused(Cause::Corrupt, doing, error)
}
