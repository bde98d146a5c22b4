//! Edge protection: reduces the load on the scribe and the database, and decides nothing.
//!
//! Rate limiter, sold-out cache, and the Redis connection through which processes share both.

pub mod rate_limiter;
pub mod redis;
pub mod sold_out;
