//! What infra does for real: real files, real processes, real PostgreSQL.

mod bad_fields;
mod bad_input;
mod bad_values;
mod crash;
mod cut;
mod differential;
mod effects;
mod embedded;
mod followed;
mod guard;
mod hostile_queries;
mod house;
mod idempotency;
mod laws;
mod partner;
mod process;
mod rebuilds;
mod restored;
mod rivals;
mod roles;
mod scenarios;
mod secrets;
mod server;
mod shop;
mod story;
mod timers;
