//! The event log on PostgreSQL: its tables, history, epochs and routes, and the feeds that readers follow.
//!
//! **Never here:** a decision; the scribe alone writes the log.

mod feed;
pub mod history;
pub mod kafka_feed;
mod migrations;
mod routes;
mod tail;

pub use feed::{StoreFeed, raw};
pub use history::PgHistory;
pub use migrations::{migrate, require_migrated};
pub use routes::Routes;
pub use tail::Tail;

use projections::ports::{Cause, Fault};

/// Maps an error of the database to a fault of the read side.
pub fn fault(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Fault {
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
