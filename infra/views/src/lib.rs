//! Read models on PostgreSQL: tables and rows, the follower of the log, rebuilds, the row cache and live updates.
//!
//! **Never here:** the fold of a read model (`projections`), the decision which rows a caller may see (`api`), and the log
//! (`event_log`). A new read model needs no change here: its table and statements follow from its row type.

pub mod follower;
pub mod live;
pub mod row_cache;
pub mod store;
