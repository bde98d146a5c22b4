//! Redis connection for data that may be lost: cached rows, counters, hints, and notices between processes.
//!
//! Redis is never the source of truth. A request is answered within 100 ms, or the caller continues without an answer;
//! during an outage requests return at once. Values carry a MAC over their key, so that a value that another program
//! wrote, or that was copied from the key of another tenant, is ignored. Only the counts of the rate limiter carry
//! none, because a script in Redis changes them.

mod connection;
mod seal;
mod server_info;

pub use connection::{ANSWER_TIMEOUT, Redis, client, namespace_of};
pub use server_info::server_info;
