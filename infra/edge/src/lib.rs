//! Edge protection: keeps load away from the scribe and the store and decides nothing.
//!
//! Rate limits, the sold-out cache and the Redis connection that processes share them through.

pub mod limits;
pub mod redis;
pub mod sold_out;
