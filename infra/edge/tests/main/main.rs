//! Rate limits, the sold-out cache and Redis, on real servers.

mod limits;
mod redis;
mod sold_out;
