//! Infrastructure that every process needs: clock and ids, comparison of clocks, database pool and connectivity, health, HTTP server, retry
//! policy.
//!
//! **Never here:** a subject of its own, such as the log, read models or webhooks.

pub mod clock;
pub mod clock_monitor;
pub mod connectivity;
pub mod database;
mod database_role;
pub mod health;
pub mod http_server;
pub mod retry;
pub mod session_watch;

pub use database_role::DatabaseRole;
