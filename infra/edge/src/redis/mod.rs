//! Redis, for what may be lost: copies of rows, counters, hints and news between processes.
//!
//! Nothing here is ever the truth. Whoever asks gets an answer within a named time or none, and goes on without it;
//! while Redis is away nobody waits for it at all. What is kept there carries a MAC over its own key, so that a value
//! that somebody else wrote, or that was copied from another tenant's key, reads as nothing.

mod connection;
mod look;
mod sealing;

pub use connection::{ANSWERED_WITHIN, Redis, client, namespace_of};
pub use look::look;
