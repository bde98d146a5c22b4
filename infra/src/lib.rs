//! The top floor: PostgreSQL, configuration and wiring, and the only place with a clock.
//!
//! **Never here:** a decision of the business. What infra does is asked for by a port of a floor below.
//! **To add a part:** one module, wired up in the binary.

pub mod bench;
pub mod cli;
pub mod crew;
pub mod database;
pub mod demo;
pub mod embedded;
pub mod engine;
pub mod feed;
pub mod health;
pub mod hosted;
pub mod hot_rows;
pub mod http_server;
pub mod laws;
pub mod limits;
pub mod live;
pub mod machines;
mod parts;
pub mod peers;
pub mod policies;
pub mod postgres;
pub mod presence;
pub mod reach;
pub mod reads;
mod recent;
pub mod redis;
pub mod relief;
pub mod running;
pub mod scribe;
pub mod settings;
pub mod sold_out;
pub mod vault;
pub mod webhooks;
mod wire;
