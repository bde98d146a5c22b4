//! What every process needs: the clock, the database pool and its connectivity, health, the HTTP server.
//!
//! **Never here:** a subject of its own, such as the log, read models or webhooks.

pub mod clock;
pub mod connectivity;
pub mod database;
pub mod health;
pub mod http_server;
pub mod recent;
pub mod retry;
