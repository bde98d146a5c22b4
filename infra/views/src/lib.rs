//! Read models on PostgreSQL: tables and rows, followers, rebuilds, the row cache and live updates.

pub mod live;
pub mod reads;
pub mod row_cache;
pub mod store;
