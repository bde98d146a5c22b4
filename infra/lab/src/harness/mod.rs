//! Test harness: engines, servers and partners that integration tests start, break and inspect.
//!
//! - [`Backend`] runs parts of the engine in the test's process, [`Engine`] runs all of it with its HTTP server, and
//!   [`Cluster`] starts the product's binary as processes.
//! - [`database()`] hands out one PostgreSQL database per test; [`RedisServer`] and [`Broker`] are servers of one test.
//! - [`Partner`] and [`Receiver`] are HTTP servers outside, for effects and for webhooks.
//! - [`eventually`] waits for a condition; [`looked_again`] is the marker behind something that must not happen.

mod backend;
mod broker;
mod cluster;
mod commit_proxy;
mod database;
mod engine;
mod partner;
mod receiver;
mod redis;
mod restore;
mod shop;
mod socket;
pub mod victim;
mod wait;

pub use backend::{Backend, caught_up, digests, loopback_guard, rebuild_all, scribe_settings};
pub use broker::{Broker, KAFKA_TURN};
pub use cluster::{Cluster, free_address, send_once, send_until_decided};
pub use commit_proxy::{CommitFate, CommitProxy};
pub use database::{cut_sessions, database, looked_again};
pub use engine::{Engine, HttpRequest, HttpResponse};
pub use partner::{Partner, PartnerClient, PartnerReply, commands_with_samples};
pub use receiver::{Received, Receiver, ReceiverReply};
pub use redis::{RedisServer, connect_redis};
pub use restore::{
    age_by, lane_head, orphaned_checkpoints, pending_timers, place_orders, restore_lane, restore_lane_on,
};
pub use shop::Shop;
pub use socket::{EventStream, Socket};
pub use wait::{PATIENCE, eventually};

/// Outer key of the engines that run in the test's process, in Base64.
pub const OUTER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
