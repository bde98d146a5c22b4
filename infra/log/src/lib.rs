//! Event log on PostgreSQL: migrations, history, epochs, tenant routes, and the feeds that consumers read.
//!
//! **Never here:** business decisions, and appends of events: only the scribe writes those.

mod feed;
pub mod history;
pub mod kafka_feed;
mod lane_count;
mod migrations;
mod routes;
mod tail;
pub mod walls;

pub use feed::{StoreFeed, raw_event};
pub use history::PgHistory;
pub use lane_count::{InvalidLaneCount, LaneCount};
pub use migrations::{migrate, migrate_with, require_migrated};
pub use routes::Routes;
pub use tail::Tail;

use projections::ports::{Cause, Fault};

/// Maps a database error to a fault of the read side.
pub fn fault(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Fault {
    move |error| {
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        // SQLSTATE classes: 22 data exception, 23 constraint violation, 40 transaction rollback.
        let cause = match code.get(..2) {
            Some("22" | "23") => Cause::Corrupt,
            Some("40") => Cause::Conflict,
            _ => Cause::Unavailable,
        };
        Fault::caused(cause, doing, error)
    }
}
