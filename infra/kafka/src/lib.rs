//! Kafka: the relay copies the log to a topic, and the feed reads the topic for workers.
//!
//! **Here:** all code that uses Kafka. **Never here:** a source of truth. The log in PostgreSQL decides what happened,
//! and a worker's checkpoint what it has processed; Kafka holds copies. Positions have no gaps and records carry their
//! epoch, so a reader detects missing and repeated records and those of a rewritten log. A topic that was deleted is
//! filled again.

mod connection_error;
mod error;
mod feed;
mod in_flight;
mod lane;
mod leases;
mod outage;
mod record;
mod relay;
mod resume;
mod security;
mod settings;
pub mod speed;
mod topic;

pub use feed::{Batch, Feed};
pub use leases::Leases;
pub use outage::Outage;
pub use record::{Foreign, decode, headers};
pub use relay::Relay;
pub use security::{Login, Mechanism, Password, Tls, UnknownMechanism};
pub use settings::Settings;
pub use topic::{TopicError, probe};
