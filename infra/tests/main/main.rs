//! What infra does for real: real files, real processes, real PostgreSQL.

mod crash;
mod cut;
mod embedded;
mod guard;
mod idempotency;
mod process;
mod rebuilds;
mod restored;
mod rivals;
mod secrets;
mod server;
mod shop;
mod timers;
