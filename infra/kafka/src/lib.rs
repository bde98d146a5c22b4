//! Kafka: the relay copies the log to a topic, and the feed reads the topic for consumers.
//!
//! **Here:** all code that uses Kafka. **Never here:** a source of truth. The log in PostgreSQL decides what happened,
//! and a consumer's checkpoint what it has processed; Kafka holds copies. Positions have no gaps and records carry
//! their epoch, so a reader detects missing and repeated records and those of a rewritten log. A topic that was deleted
//! is created and filled again.

mod availability;
mod connection_error;
mod error;
mod feed;
mod in_flight;
mod lane_relay;
mod leases;
mod record;
mod relay;
mod resume;
mod security;
mod settings;
pub mod speed;
mod topic;

/// Maximum number of events of one batch.
pub const BATCH_EVENTS_MOST: usize = 2_000;

pub use availability::Availability;
pub use feed::{Batch, Feed};
pub use leases::Leases;
pub use record::{Foreign, decode, headers};
pub use relay::Relay;
pub use security::{Login, Mechanism, Password, Tls, UnknownMechanism};
pub use settings::Settings;
pub use topic::{TopicError, probe};
