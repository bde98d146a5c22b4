//! The scribe on PostgreSQL: drives the state machine of `commands::scribe` with tokio and one connection.

mod commit;
mod driver;
mod figures;
mod guard;
mod handle;
mod load;
mod micros;
mod routes;
mod tail;
mod take_over;

pub use handle::{ScribeHandle, ScribeSettings, start};
pub use load::recall;
pub use micros::Micros;
pub use routes::Routes;
pub use tail::Tail;
pub use take_over::{LANES, Owner};

use domain::shared::Timestamp;

/// The one clock of the engine. Everything below gets the time as a value.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A fresh UUIDv7 (RFC 9562): the time in milliseconds, then random bits.
pub fn new_id() -> uuid::Uuid {
    let mut random = [0; 10];
    // Without random bits the id would still be unique to its millisecond; the receipt index refuses what is not.
    getrandom::fill(&mut random).ok();
    let millis = u64::try_from(now().micros().div_euclid(1000)).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
