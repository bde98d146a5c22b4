//! Test harness: engines, servers and partners that integration tests start, disturb and inspect.
//!
//! - [`Backend`] runs parts of the engine in the test's process, [`Engine`] runs all of it with its HTTP server, and
//!   [`Cluster`] starts the product's binary as processes.
//! - [`database()`] creates one PostgreSQL database per test; [`RedisServer`] and [`Broker`] are servers of one test.
//! - [`Partner`] and [`Receiver`] are HTTP servers that effects call and webhooks are sent to.
//! - [`eventually`] waits for a condition; [`wait_for_new_looks`] waits until work that was due has begun, before a test
//!   checks that something did not happen.

mod backend;
mod broker;
mod cluster;
mod commit_proxy;
mod database;
mod engine;
mod every_model;
mod partner;
mod receiver;
mod redis;
mod restore;
mod shop;
mod socket;
pub mod victim;
mod wait;

pub use backend::{Backend, caught_up, digests, loopback_guard, rebuild_all, scribe_settings};
pub use broker::{Broker, KAFKA_PERMIT};
pub use cluster::{Cluster, free_address, send_once, send_until_decided};
pub use commit_proxy::{CommitFate, CommitProxy};
pub use database::{database, database_with_lanes, end_sessions, engine_url, wait_for_new_looks};
pub use engine::{Engine, HttpRequest, HttpResponse};
pub use every_model::use_every_model;
pub use partner::{Partner, PartnerClient, PartnerReply, commands_with_samples};
pub use receiver::{Received, Receiver, ReceiverReply};
pub use redis::{RedisServer, connect_redis};
pub use restore::{
    age_by, lane_head, orphaned_checkpoints, pending_timers, place_orders, restore_lane, restore_lane_on,
};
pub use shop::Shop;
pub use socket::{EventStream, Socket};
pub use wait::{WAIT_TIMEOUT, eventually};

/// Outer key of the engines that run in the test's process, in Base64.
pub const OUTER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
